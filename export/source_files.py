"""What the files are that a bundle is made from: hashes, and how to tell that they are the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

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

    def sha256(file: Path) -> SourceFile:
        stat, digest = file.stat(), hashlib.sha256()
        block = memoryview(bytearray(_BLOCK_NBYTES))
        with file.open("rb", buffering=0) as opened:
            while count := opened.readinto(block):
                digest.update(block[:count])
                note(count)
        return SourceFile(digest.hexdigest(), stat.st_size, stat.st_mtime_ns)

    with ThreadPoolExecutor(_THREADS) as threads:
        described |= zip(unknown, threads.map(sha256, unknown.values()), strict=True)
    return {name: described[name] for name in found}
