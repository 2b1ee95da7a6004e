"""Memory and speed of the preprocessing: a long video through the whole stage.

    python benchmarks/preprocess.py     # the table, and benchmarks/results/preprocess.json

A made 1920x1080 video is tracked, in replace mode cut out, and its poses, faces, backgrounds, masks
and preview are drawn: everything but the networks, whose places arithmetic takes. Resident memory
is read every few frames. docs/benchmarks.md says what the numbers are.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from e2e.machine import describe_machine
from wan_trt.engine.frames import FrameSource
from wan_trt.engine.request import Mode
from wan_trt.media import open_frames
from wan_trt.preprocess import Options, PersonTracker, Prepared, Progress, prepare
from wan_trt.preprocess.detection.person_boxes import People
from wan_trt.preprocess.frame_ranges import pieces

RESULTS = Path(__file__).resolve().parent / "results" / "preprocess.json"
HEIGHT, WIDTH, RATE = 1080, 1920, Fraction(30)
KEYFRAME_EVERY = 60
LOOP = 120
"""Frames after which the pictures repeat."""
SETTLED_AFTER = 100
"""Frames of a pass after which memory should have stopped growing."""


@dataclass
class Pass:
    """One walk over all frames. Megabytes of resident memory: after `SETTLED_AFTER` frames, at the
    end, and the most that was seen."""

    mode: str
    what: str
    frames: int
    frames_per_s: float = 0.0
    cpu_ms_per_frame: float = 0.0
    settled_mb: float = 0.0
    end_mb: float = 0.0
    peak_mb: float = 0.0
    _started: tuple[float, float] = field(default=(0.0, 0.0), repr=False)

    def start(self) -> Pass:
        self._started = time.perf_counter(), time.process_time()
        return self

    def watch(self, done: int) -> None:
        resident = resident_mb()
        if done <= SETTLED_AFTER:
            self.settled_mb = resident
        self.end_mb, self.peak_mb = resident, max(self.peak_mb, resident)
        if done == self.frames:
            wall, cpu = self._started
            self.frames_per_s = self.frames / (time.perf_counter() - wall)
            self.cpu_ms_per_frame = 1e3 * (time.process_time() - cpu) / self.frames

    def told(self, progress: Progress) -> None:
        self.watch(progress.done)

    @property
    def growth_mb(self) -> float:
        """After the first frames."""
        return self.peak_mb - self.settled_mb


class MovingPerson:
    """Detector, pose network and segmentation in one: somebody walks to and fro."""

    def __init__(self) -> None:
        self._frame = 0
        rng = np.random.default_rng(0)
        self._points = np.ones((133, 3))
        self._points[:, :2] = rng.uniform((0, 0), (300, 800), (133, 2))

    def people(self, frames: NDArray[np.uint8]) -> list[People]:
        boxes = []
        for _ in frames:
            left = 400 + 5 * (self._frame % LOOP)
            boxes.append(np.array([[left, 150.0, left + 300.0, 950.0, 0.9]]))
            self._frame += 1
        return boxes

    def points(
        self, frames: NDArray[np.uint8], people: Sequence[NDArray[np.float64] | None]
    ) -> NDArray[np.float64]:
        points = np.repeat(self._points[None], len(frames), axis=0)
        for one, person in zip(points, people, strict=True):
            assert person is not None
            one[:, :2] += person[:2]
        return points

    def outlines(
        self, frames: FrameSource, points: Mapping[int, NDArray[np.float64]]
    ) -> Iterator[NDArray[np.uint8]]:
        assert 0 in points
        y, x = np.mgrid[: frames.height, : frames.width]
        for index in range(frames.count):
            frames.read(index, index + 1)
            middle = frames.width * (0.3 + 0.3 * (index % LOOP) / LOOP)
            away = ((x - middle) / 0.1 / frames.width) ** 2 + (y / frames.height - 0.5) ** 2 / 0.1
            yield (away < 1).astype(np.uint8)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--frames", type=int, default=3000, help="of the video (%(default)s)")
    parser.add_argument("--beside", default="nothing", help="what else the machine was doing")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the JSON file to write")
    options = parser.parse_args(arguments)
    machine = describe_machine(2, ("av", "numpy", "opencv-python-headless"))
    with tempfile.TemporaryDirectory() as folder:
        video = write_video(Path(folder) / "driver.mp4", options.frames)
        passes = [one for mode in Mode for one in measure(video, mode, options.frames)]
    result = {
        "machine": machine,
        "beside": options.beside,
        "video": f"{options.frames} frames of {WIDTH}x{HEIGHT}, H.264",
        "passes": [
            {name: value for name, value in asdict(one).items() if not name.startswith("_")}
            | {"growth_mb": one.growth_mb}
            for one in passes
        ],
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"| {'mode':7} | {'pass':13} | frames/s | CPU ms | after {SETTLED_AFTER} | growth MB |")
    for one in passes:
        print(
            f"| {one.mode:7} | {one.what:13} | {one.frames_per_s:8.1f} | "
            f"{one.cpu_ms_per_frame:6.2f} | {one.settled_mb:9.1f} | {one.growth_mb:9.1f} |"
        )
    return 0


def measure(video: Path, mode: Mode, count: int) -> Iterator[Pass]:
    """Tracking, in replace mode segmenting, and drawing."""
    person = MovingPerson()
    passes = {
        "poses": Pass(mode.value, "track", count),
        "masks": Pass(mode.value, "segment", count),
    }

    def told(progress: Progress) -> None:
        one = passes[progress.stage]
        one.told(progress)
        if progress.done == progress.total:
            passes["masks"].start()

    driver = open_frames(video)
    passes["poses"].start()
    reference = np.zeros((720, 1280, 3), dtype=np.uint8)
    prepared = prepare(
        reference,
        PersonTracker(person, person),
        driver,
        Options(mode=mode),
        outlines=person if mode is Mode.REPLACE else None,
        on_progress=told,
    )
    yield passes["poses"]
    if mode is Mode.REPLACE:
        yield passes["masks"]
    yield draw(prepared, mode, "draw", preview=False)
    yield draw(prepared, mode, "draw, preview", preview=True)
    driver.close()


def draw(prepared: Prepared, mode: Mode, what: str, *, preview: bool) -> Pass:
    """Everything but the encoding: decode, resize, draw, crop, mask."""
    one = Pass(mode.value, what, prepared.pose.count).start()
    every = (prepared.pose, prepared.face, prepared.background, prepared.mask)
    sources = [source for source in every if source is not None]
    if preview and prepared.preview is not None:
        sources.append(prepared.preview)
    for first, last in pieces(0, one.frames):
        for source in sources:
            source.read(first, last)
        one.watch(last)
    return one


def write_video(path: Path, count: int) -> Path:
    """A textured room with a moving blob in it, at camera-like detail."""
    rng = np.random.default_rng(0)
    room = rng.integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
    room = np.kron(room // 2 + 64, np.ones((8, 8, 1), dtype=np.uint8))
    with av.open(str(path), "w") as container:
        settings = {"preset": "veryfast", "crf": "23", "x264-params": f"keyint={KEYFRAME_EVERY}"}
        stream = container.add_stream("libx264", rate=RATE, options=settings)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for number in range(count):
            picture = np.roll(room, number % LOOP, axis=1)
            left = 400 + 5 * (number % LOOP)
            picture[150:950, left : left + 300] = (180, 120, 90)
            container.mux(stream.encode(VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    return path


def resident_mb() -> float:
    """Of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    sys.exit(main())
