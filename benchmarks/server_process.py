"""`wan-trt serve` in a process of its own, as benchmarks drive it, and what it takes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

ROOT = Path(__file__).resolve().parents[1]
HEIGHT, WIDTH = 32, 48


@dataclass(frozen=True)
class Taken:
    """By the server's process; `files` are those below its folder."""

    resident_nbytes: int
    threads: int
    descriptors: int
    files: int
    folder_nbytes: int


def taken_by(pid: int, data: Path) -> Taken:
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    files = [nbytes for path in data.rglob("*") if (nbytes := _file_nbytes(path)) is not None]
    return Taken(
        resident_nbytes=1024 * int(status["VmRSS"].split()[0]),
        threads=int(status["Threads"]),
        descriptors=len(list(Path(f"/proc/{pid}/fd").iterdir())),
        files=len(files),
        folder_nbytes=sum(files),
    )


@contextmanager
def serving(
    bundle: Path,
    data: Path,
    *options: str,
    errors: Path | None = None,
    counts: Path | None = None,
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server's process and its address; `options` are those of `wan-trt serve`, `errors` gets
    what it writes to stderr, `counts` what its parts take of the processor (counted_server.py).
    Raises ChildProcessError where it ends before it listens."""
    home, counted = (
        ("wan_trt.cli.main", []) if counts is None else ("counted_server", [str(counts)])
    )
    paths = [str(ROOT / "tests" / ".path"), str(ROOT / "benchmarks")]
    code = (
        f"import sys; sys.path[:0] = {paths}; from {home} import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [
        *(sys.executable, "-c", code, *counted),
        *("serve", str(bundle), "--listen", "127.0.0.1:0", "--threads", "1"),
        *("--data", str(data), "--reserve-gigabytes", "0", "--grace", "0", *options),
    ]
    with errors.open("a") if errors else nullcontext() as stderr:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise ChildProcessError(f"the server ended with {process.wait()}")
        yield process, line.split()[-1]
    finally:
        process.terminate()
        process.communicate()


def readers_of(pid: int) -> int:
    """How many processes read media for the server: all that its fork server has forked."""
    return sum(len(children_of(child)) for child in children_of(pid))


def small_bundle(folder: Path) -> Path:
    """A made-up Animate bundle."""
    from wan_trt.export.bundle_writer import export_bundle
    from wan_trt.export.synthetic.checkpoint import write_checkpoint
    from wan_trt.export.synthetic.sizes import TINY

    export_bundle(write_checkpoint(folder / "checkpoint", TINY), folder / "bundle")
    return folder / "bundle"


def small_media(
    folder: Path, frames: int, height: int = HEIGHT, width: int = WIDTH
) -> dict[str, Path]:
    """Random files of a job, by the field that names them."""
    generator = np.random.default_rng(0)
    shapes = {
        "reference": (1, 40, 30, 3),
        "pose": (frames, height, width, 3),
        "face": (frames, 16, 16, 3),
    }
    files = {name: folder / f"{name}.safetensors" for name in shapes}
    for name, shape in shapes.items():
        save_file({"frames": generator.integers(0, 256, shape, dtype=np.uint8)}, files[name])
    return files


def children_of(pid: int) -> list[int]:
    """Also those that its threads started."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found += map(int, (task / "children").read_text().split())
        except FileNotFoundError:  # the thread has ended
            continue
    return found


def _file_nbytes(path: Path) -> int | None:
    """None for a folder, and for a file that the server has just removed."""
    try:
        return path.stat().st_size if path.is_file() else None
    except FileNotFoundError:
        return None
