"""What the files are that a bundle is made from: hashes, and how to tell that they are the same."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Lock

from wan_trt.engine.errors import CheckpointError
from wan_trt.engine.manifest import SourceFile
from wan_trt.export.progress import OnProgress, Progress, Stage

_BLOCK_NBYTES = 1 << 23
_THREADS = 2  # hashing keeps a core busy, and lets others run


def describe(
    root: Path,
    files: tuple[Path, ...],
    known: Mapping[str, SourceFile],
    on_progress: OnProgress,
) -> dict[str, SourceFile]:
    """Hash the files below `root`. One that is `known` with its size and time is not read."""
    found = {str(file.relative_to(root)): file for file in files}
    described: dict[str, SourceFile] = {}
    for name, file in found.items():
        stat, before = file.stat(), known.get(name)
        if before and (stat.st_size, stat.st_mtime_ns) == (before.nbytes, before.modified_ns):
            described[name] = before
    unknown = {name: file for name, file in found.items() if name not in described}
    total = sum(file.stat().st_size for file in unknown.values())
    done = 0
    noting = Lock()

    def note(nbytes: int) -> None:
        nonlocal done
        with noting:
            done += nbytes
            on_progress(Progress(Stage.SOURCES, "hashing the checkpoint", done, total))

    ended = Event()

    def sha256(file: Path) -> SourceFile:
        digest, block = hashlib.sha256(), memoryview(bytearray(_BLOCK_NBYTES))
        with file.open("rb", buffering=0) as opened:
            stat = os.fstat(opened.fileno())
            while not ended.is_set() and (count := opened.readinto(block)):
                digest.update(block[:count])
                note(count)
        return SourceFile(digest.hexdigest(), stat.st_size, stat.st_mtime_ns)

    with ThreadPoolExecutor(_THREADS) as threads:
        try:
            described |= zip(unknown, threads.map(sha256, unknown.values()), strict=True)
        finally:
            ended.set()  # an interrupt does not wait for whole files
    return {name: described[name] for name in found}


def require_unchanged(root: Path, described: Mapping[str, SourceFile]) -> None:
    """Raise CheckpointError when a file is not what was hashed: the weights may be of either."""
    for name, source in described.items():
        stat = (root / name).stat()
        if (stat.st_size, stat.st_mtime_ns) != (source.nbytes, source.modified_ns):
            raise CheckpointError(
                f"{root / name} was written to while it was exported",
                expected="a checkpoint that stays as it is",
                action="wait until it is complete, and export again",
            )
