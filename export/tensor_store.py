"""Tensors as files named by their content."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import shutil
from collections.abc import Iterable
from pathlib import Path

import torch


class TensorStore:
    """A folder of tensors without headers: little-endian, C order, named by their sha256.

    Equal tensors are one file. Several threads may put tensors at the same time.
    """

    def __init__(self, folder: Path) -> None:
        """Make the folder."""
        folder.mkdir()
        self._folder = folder
        self._numbers = itertools.count()

    def put(self, pieces: Iterable[torch.Tensor]) -> str:
        """Store a tensor given in pieces that follow one another; gives its name."""
        partial = self._partial()
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
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
        return name

    def can_link(self, file: Path) -> bool:
        """Whether `file` can be had here without copying it: whether it lies on this file
        system, and that knows hard links."""
        probe = self._partial()
        try:
            probe.hardlink_to(file.resolve())
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
            place.hardlink_to(file.resolve())
        except OSError:
            shutil.copyfile(file, place)

    def _partial(self) -> Path:
        return self._folder / f"{next(self._numbers)}.partial"
