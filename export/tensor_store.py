"""Tensors as files named by their content, written while the next one is made."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import shutil
import threading
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import torch

_WAITING = 2  # tensors made but not yet written: what memory holds beside the one being made


class TensorStore:
    """A folder of tensors without headers: little-endian, C order, named by their sha256.

    Equal tensors are one file. One thread hashes and writes; `put` waits when it falls behind.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._numbers = itertools.count()
        self._slots = threading.BoundedSemaphore(_WAITING)
        self._failure: BaseException | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="tensor-store")

    def put(self, pieces: Iterable[torch.Tensor]) -> Future[str]:
        """Store a tensor given in pieces that follow one another; the future gives its name.

        The pieces are asked for by the writing thread. Raises what an earlier write raised.
        """
        self._slots.acquire()
        if self._failure is not None:
            self._slots.release()
            raise self._failure
        return self._writer.submit(self._write, pieces)

    def can_link(self, file: Path) -> bool:
        """Whether `file` can be had here without copying it: whether it lies on this file
        system, and that knows hard links."""
        probe = self._folder / f"{next(self._numbers)}.partial"
        try:
            probe.hardlink_to(file)
        except OSError:
            return False
        probe.unlink()
        return True

    def adopt(self, file: Path) -> None:
        """Have `file`, named by its content, here too."""
        place = self._folder / file.name
        if place.exists():
            return
        try:
            place.hardlink_to(file)
        except OSError:
            shutil.copyfile(file, place)

    def __enter__(self) -> TensorStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Wait until everything is written; after an error only for what is being written."""
        self._writer.shutdown(wait=True, cancel_futures=kind is not None)

    def _write(self, pieces: Iterable[torch.Tensor]) -> str:
        partial = self._folder / f"{next(self._numbers)}.partial"
        digest = hashlib.sha256()
        try:
            with partial.open("xb", buffering=0) as file:
                for piece in pieces:
                    data = piece.contiguous().reshape(-1).view(torch.uint8).numpy().data
                    digest.update(data)
                    position = 0
                    while position < data.nbytes:  # one call writes at most 2 GiB
                        position += file.write(data[position:])
            name = digest.hexdigest()
            partial.replace(self._folder / name)
            return name
        except BaseException as error:
            self._failure = error
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
        finally:
            self._slots.release()
