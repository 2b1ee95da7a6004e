"""What reading a job's media in a process of its own costs: start, frames, memory.

    python benchmarks/media_process.py [--frames 240]

It makes H.264 videos of moving noise, and reads them in chunks of four frames as the VAE's encoder
does: here, in a reader process, and either way ahead of whoever works on the frames.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from wan_trt.engine.frames import FrameSource
from wan_trt.media import GENEROUS, LocalMedia, MediaReader, open_pixel_writer
from wan_trt.media.isolation import ForkServer, IsolatedMedia

SIZES = {"720p": (720, 1280), "1080p": (1080, 1920)}
CHUNK = 4


def write_video(path: Path, size: tuple[int, int], count: int) -> None:
    generator = np.random.default_rng(0)
    height, width = size
    coarse = generator.integers(0, 256, (height // 8 + 1, width // 8 + count + 1, 3), np.uint8)
    picture = coarse.repeat(8, axis=0).repeat(8, axis=1)
    writer = open_pixel_writer(path, height=height, width=width, frame_count=count)
    for number in range(count):
        writer.write(picture[None, :height, number : number + width])
    writer.close()


def read_all(source: FrameSource, work_s: float = 0.0) -> float:
    """Seconds for all frames, where each chunk is worked on for `work_s`."""
    began = time.perf_counter()
    for start in range(0, source.count, CHUNK):
        source.read(start, min(start + CHUNK, source.count))
        if work_s:
            time.sleep(work_s)
    return time.perf_counter() - began


def measure_start(path: Path) -> None:
    firsts, nexts, heres, mine = [], [], [], []
    for _ in range(5):
        server = ForkServer()
        began = time.perf_counter()
        media = IsolatedMedia(fork_server=server)
        media.frames(path)
        firsts.append(time.perf_counter() - began)
        for _ in range(5):
            began = time.perf_counter()
            other = IsolatedMedia(fork_server=server)
            other.frames(path)
            nexts.append(time.perf_counter() - began)
            rollup = Path(f"/proc/{other.pid}/smaps_rollup").read_text(encoding="ascii")
            private = [line.split()[1] for line in rollup.splitlines() if "Private_" in line]
            mine.append(sum(int(number) for number in private))
            other.close()
            began = time.perf_counter()
            here = LocalMedia()
            here.frames(path)
            heres.append(time.perf_counter() - began)
            here.close()
        media.close()
        server.close()
    print(
        f"first job {1e3 * statistics.median(firsts):.0f} ms, each further one "
        f"{1e3 * statistics.median(nexts):.1f} ms (in this process "
        f"{1e3 * statistics.median(heres):.1f} ms), {statistics.median(mine) / 1e3:.0f} MB its own"
    )


def measure_frames(name: str, path: Path) -> None:
    readers: dict[str, Callable[[], MediaReader]] = {
        "here": lambda: LocalMedia(ahead=False),
        "here, ahead": LocalMedia,
        "process, ahead": lambda: IsolatedMedia(GENEROUS),
    }
    for what, make in readers.items():
        media = make()
        source = media.frames(path)
        nbytes = source.count * source.height * source.width * 3
        read_all(source)
        alone = min(read_all(source) for _ in range(3))
        work_s = 0.05
        beside = read_all(source, work_s)
        waited = beside - work_s * -(-source.count // CHUNK)
        print(
            f"{name:16} {what:16} {nbytes / alone / 1e6:6.0f} MB/s {source.count / alone:6.0f} "
            f"frames/s, waited for beside work {1e3 * waited / source.count:5.2f} ms a frame"
        )
        media.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--frames", type=int, default=120)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, size in SIZES.items():
            video = Path(folder) / f"{name}.mp4"
            write_video(video, size, arguments.frames)
            if name == "720p":
                print("opening a video: ", end="")
                measure_start(video)
            measure_frames(f"{name} H.264", video)
        tensors = Path(folder) / "1080p.safetensors"
        save_file({"frames": np.zeros((arguments.frames, 1080, 1920, 3), np.uint8)}, tensors)
        print("opening tensors: ", end="")
        measure_start(tensors)
        measure_frames("1080p tensors", tensors)


if __name__ == "__main__":
    main()
