"""What a server's memory comes to over many jobs, of which some are cancelled at random moments.

    python benchmarks/soak.py             # 500 jobs, and benchmarks/results/soak.json

`wan-trt serve` with a folder of its own, in a process of its own, on a small made-up bundle; this
process is the client. Jobs wait a few at a time, a third of them is cancelled after a random
while, results of the others are fetched. docs/benchmarks.md says what the numbers are.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from e2e.machine import describe_machine
from wan_trt.engine.choices import RequestChoices, SamplingChoices
from wan_trt.engine.errors import CancelledError
from wan_trt.server.client import Client
from wan_trt.server.submission import OutputFormat, Submission

RESULTS = Path(__file__).resolve().parent / "results" / "soak.json"
ROOT = Path(__file__).resolve().parents[1]
JOBS_AT_A_TIME = 4
FRAMES, HEIGHT, WIDTH = 9, 32, 48


@dataclass(frozen=True)
class Sample:
    """The server's process after so many jobs; `files` are those below its folder."""

    jobs: int
    resident_nbytes: int
    threads: int
    descriptors: int
    files: int
    folder_nbytes: int


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--jobs", type=int, default=500, help="how many (%(default)s)")
    parser.add_argument("--warm", type=int, default=50, help="the first sample is after so many")
    parser.add_argument("--bundle", type=Path, help="of Animate (default: a small made-up one)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the JSON file to write")
    options = parser.parse_args(arguments)
    machine = describe_machine(1, ("onnxruntime", "numpy", "grpcio"))
    with tempfile.TemporaryDirectory(prefix="wan-trt-soak-") as folder:
        bundle = options.bundle or _export(Path(folder))
        started = time.monotonic()
        ends, samples = soak(bundle, Path(folder), options.jobs, options.warm)
    growth = samples[-1].resident_nbytes / samples[0].resident_nbytes - 1
    for sample in samples:
        print(
            f"after {sample.jobs:4} jobs: {sample.resident_nbytes / 1e6:.1f} MB resident, "
            f"{sample.threads} threads, {sample.descriptors} descriptors, {sample.files} files"
        )
    print(f"growth {growth:+.1%}; {dict(ends)}")
    result = {
        "machine": machine,
        "jobs": options.jobs,
        "seconds": round(time.monotonic() - started, 1),
        "ends": dict(ends),
        "growth": round(growth, 4),
        "samples": [asdict(sample) for sample in samples],
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def soak(bundle: Path, folder: Path, jobs: int, warm: int) -> tuple[Counter[str], list[Sample]]:
    """Run the jobs; how they ended, and ten samples from `warm` jobs on to the end."""
    generator = random.Random(0)
    ends: Counter[str] = Counter()
    samples = []
    every = max((jobs - warm) // 9, 1)
    data = folder / "data"
    with serving(bundle, data) as (process, address), Client(address) as client:
        uploads = {name: client.upload(path) for name, path in _media(folder).items()}
        waiting: deque[tuple[str, bool]] = deque()
        for number in range(jobs):
            job_id = client.submit(_submission(uploads, number, generator))
            waiting.append((job_id, generator.random() < 1 / 3))
            if len(waiting) == JOBS_AT_A_TIME or number == jobs - 1:
                while waiting and (len(waiting) == JOBS_AT_A_TIME or number == jobs - 1):
                    ends[_end(client, *waiting.popleft(), generator)] += 1
            done = sum(ends.values())
            if (done >= warm and (done - warm) % every == 0) or number == jobs - 1:
                samples.append(_sample(process.pid, data, done))
    return ends, samples


def _submission(uploads: dict[str, Any], number: int, generator: random.Random) -> Submission:
    return Submission(
        **uploads,
        choices=RequestChoices(
            seed=number,
            segment_frames=5,
            sampling=SamplingChoices(steps=generator.randint(1, 4)),
        ),
        output_format=generator.choice(list(OutputFormat)),
    )


def _end(client: Client, job_id: str, cancel: bool, generator: random.Random) -> str:
    """Cancel the job at a random moment, or wait for it and fetch its result."""
    if cancel:
        last = generator.randint(1, 12)
        for event in client.watch(job_id):
            if event.sequence >= last:
                break
        client.cancel(job_id)
    try:
        state = client.wait(job_id).state.value
    except CancelledError:
        return "cancelled"
    for _ in client.fetch_chunks(job_id):
        pass
    return state


def _file_nbytes(path: Path) -> int | None:
    """None for a folder, and for a file that the server has just removed."""
    try:
        return path.stat().st_size if path.is_file() else None
    except FileNotFoundError:
        return None


def _sample(pid: int, data: Path, jobs: int) -> Sample:
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    files = [nbytes for path in data.rglob("*") if (nbytes := _file_nbytes(path)) is not None]
    return Sample(
        jobs=jobs,
        resident_nbytes=1024 * int(status["VmRSS"].split()[0]),
        threads=int(status["Threads"]),
        descriptors=len(list(Path(f"/proc/{pid}/fd").iterdir())),
        files=len(files),
        folder_nbytes=sum(files),
    )


@contextmanager
def serving(bundle: Path, data: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`wan-trt serve` in a process of its own, and its address."""
    code = "import sys; from wan_trt.cli.main import main; sys.exit(main(sys.argv[1:]))"
    path = str(ROOT / "tests" / ".path")
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", f"import sys; sys.path.insert(0, {path!r}); {code}"),
            *("serve", str(bundle), "--listen", "127.0.0.1:0", "--threads", "1"),
            *("--data", str(data), "--reserve-gigabytes", "0", "--grace", "0"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        process.communicate()


def _export(folder: Path) -> Path:
    from wan_trt.export.bundle_writer import export_bundle
    from wan_trt.export.synthetic.checkpoint import write_checkpoint
    from wan_trt.export.synthetic.sizes import TINY

    export_bundle(write_checkpoint(folder / "checkpoint", TINY), folder / "bundle")
    return folder / "bundle"


def _media(folder: Path) -> dict[str, Path]:
    generator = np.random.default_rng(0)
    shapes = {
        "reference": (1, 40, 30, 3),
        "pose": (FRAMES, HEIGHT, WIDTH, 3),
        "face": (FRAMES, 16, 16, 3),
    }
    files = {name: folder / f"{name}.safetensors" for name in shapes}
    for name, shape in shapes.items():
        save_file({"frames": generator.integers(0, 256, shape, dtype=np.uint8)}, files[name])
    return files


if __name__ == "__main__":
    sys.exit(main())
