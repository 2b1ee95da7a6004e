"""What it costs to keep a job's state: seconds of a checkpoint, of a segment's frames, of an event.

    python benchmarks/keeping.py          # the table, and benchmarks/results/keeping.json

Written as a server with a folder writes them, at the model's two sizes, in segments of 77 frames;
to the folder that temporary files go to. docs/benchmarks.md says what the numbers are.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from e2e.machine import describe_machine
from wan_trt.engine.checkpoint import Checkpoint
from wan_trt.engine.cursor import Cursor
from wan_trt.engine.request import Event, JobState
from wan_trt.engine.scheduling.unit import Stage
from wan_trt.server.store.checkpoint_file import write_checkpoint
from wan_trt.server.store.data_folder import DataFolder
from wan_trt.server.store.job_folder import JobFolder
from wan_trt.server.store.room import Room
from wan_trt.server.store.spool import Spool, SpoolFormat
from wan_trt.server.store.store import StoredJob

RESULTS = Path(__file__).resolve().parent / "results" / "keeping.json"
SIZES = ((480, 832), (720, 1280))
FRAMES = 77
JOB = "job"


@dataclass(frozen=True)
class Cost:
    """The median of some turns."""

    what: str
    nbytes: int
    seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--turns", type=int, default=5, help="of each file (%(default)s)")
    parser.add_argument("--frames", type=int, default=FRAMES, help="a segment (%(default)s)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the JSON file to write")
    options = parser.parse_args(arguments)
    machine = describe_machine(1, ("numpy",))
    rows = []
    with tempfile.TemporaryDirectory(prefix="wan-trt-keeping-") as path:
        data = DataFolder(Path(path))
        folder, room = data.job(JOB), Room(data.path, reserve_nbytes=0)
        folder.create()
        for height, width in SIZES:
            size = f"{width}x{height}"
            checkpoint = middle_of_a_segment(height, width, options.frames)
            nbytes = sum(tensor.nbytes for tensor in checkpoint.tensors.values())
            seconds = median(
                options.turns, partial(write_checkpoint, folder, None, checkpoint, room)
            )
            rows.append(Cost(f"checkpoint {size}", nbytes, seconds))
            form = SpoolFormat(height, width, np.dtype(np.uint8), options.frames)
            seconds = median(options.turns, partial(segment, folder, form, room))
            rows.append(Cost(f"frames {size}", form.segment_nbytes, seconds))
        rows.append(Cost("event", 0, median_event(data)))
        data.close()
    for row in rows:
        print(f"{row.what:<22} {row.nbytes / 1e6:8.1f} MB {row.seconds * 1e3:9.2f} ms")
    result = {"machine": machine, "frames": options.frames, "rows": [asdict(row) for row in rows]}
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def middle_of_a_segment(height: int, width: int, frames: int) -> Checkpoint:
    """As large as it gets: a tail and the history of a multistep solver."""
    latents = (16, (frames - 1) // 4 + 2, height // 8, width // 8)
    generator = np.random.default_rng(0)
    names = ("latents", "sample", "newest", "older")
    tensors = {name: generator.standard_normal(latents, np.float32) for name in names}
    tensors["carried"] = generator.standard_normal((3, 1, height, width), np.float32)
    return Checkpoint(Cursor(1, Stage.DENOISE, 4), tensors)


def segment(folder: JobFolder, form: SpoolFormat, room: Room) -> None:
    """Frames come from the decoder four at a time."""
    spool = Spool(folder, form, room, [])
    spool.begin(0, np.zeros((16, 1, 1, 1), np.float32))
    chunk = np.zeros((4, form.height, form.width, 3), np.float32)
    for start in range(0, form.segment_frames, 4):
        spool.write(chunk[: form.segment_frames - start])
    spool.finish()


def median(turns: int, act: Callable[[], object]) -> float:
    seconds = []
    for _ in range(turns):
        started = time.perf_counter()
        act()
        seconds.append(time.perf_counter() - started)
    return round(statistics.median(seconds), 6)


def median_event(data: DataFolder, turns: int = 300) -> float:
    data.store.add(StoredJob(JOB, "", b"request", "bundle", time.time()), {})
    numbers = iter(range(1, turns + 1))
    return median(
        turns,
        lambda: data.store.add_event(
            Event(next(numbers), JOB, JobState.RUNNING, "denoise", steps=20, elapsed_s=1.5)
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
