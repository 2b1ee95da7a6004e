"""The files of one job, and the names that they have.

    inputs/UPLOAD           what the request names: links, so that an upload may be removed
    spool/0000.frames       kept frames of a segment, and its latents where the result has them
    spool/0000.latents.npy
    checkpoint.0.safetensors   or .1: the newest, and for a moment also the one before
    result.mp4              or result.safetensors

A file has its name when it is complete. It counts when the job store says so.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from wan_trt.media.partial_output import sync

_log = logging.getLogger(__name__)


def frames_path(folder: Path, segment: int) -> Path:
    """Where the frames of a segment lie in a job's folder."""
    return folder / "spool" / f"{segment:04}.frames"


class JobFolder:
    def __init__(self, path: Path, durable: bool = True) -> None:
        """`durable`: what is complete is also on disk."""
        self.path = path
        self.inputs = path / "inputs"
        self.spool = path / "spool"
        self._durable = durable

    def create(self) -> None:
        for folder in (self.path, self.inputs, self.spool):
            folder.mkdir()

    def take_input(self, upload: Path) -> Path:
        """The job's own name for an uploaded file."""
        target = self.inputs / upload.name
        if not target.exists():
            try:
                os.link(upload, target)
            except OSError:  # a file system without links
                partial = target.with_name(f".{target.name}.partial")
                shutil.copyfile(upload, partial)
                self.complete(partial, target)
        return target

    def seal(self) -> None:
        """Wait until all names are on disk."""
        if self._durable:
            for folder in (self.inputs, self.spool, self.path, self.path.parent):
                sync(folder)

    def complete(self, partial: Path, target: Path) -> None:
        """Bring a file to disk and give it its name."""
        if self._durable:
            sync(partial)
        partial.replace(target)
        if self._durable:
            sync(target.parent)

    def keep_only(self, names: Iterable[str]) -> None:
        """Remove all files but these; `names` are relative to the folder."""
        kept = {self.path / name for name in names}
        for file in self.path.rglob("*"):
            if not file.is_dir() and file not in kept:
                file.unlink()

    def keep_result(self, result: Path) -> None:
        """The job is over: remove all but its result. What cannot be removed stays."""
        for folder in (self.inputs, self.spool):
            shutil.rmtree(folder, ignore_errors=True)
        try:
            self.keep_only([result.name])
        except OSError as error:
            _log.warning("%s is not tidied: %s", self.path, error)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
