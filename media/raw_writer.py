"""Frames as their numbers and nothing else."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wan_trt.media.disk_space import require_space
from wan_trt.media.frame_extent import FrameExtent
from wan_trt.media.partial_output import PartialFile, output_error


class RawWriter:
    """A PixelWriter: uint8 [T, height, width, 3] in C order, without a header."""

    def __init__(self, path: Path, *, height: int, width: int, frame_count: int) -> None:
        """Raises MediaError for an unwritable place, ResourceError when the disk is too full."""
        self._extent = FrameExtent(height, width, frame_count)
        self._partial = PartialFile(path)
        self._ended = False
        try:
            require_space(path, height * width * 3 * frame_count)
            self._file = self._partial.path.open("xb")
        except OSError as error:
            raise output_error(path, error) from error

    def write(self, pixels: NDArray[np.uint8]) -> None:
        """Append frames, uint8 [n, height, width, 3]."""
        self._extent.accept(pixels.shape)
        try:
            self._file.write(np.ascontiguousarray(pixels).data)
        except OSError as error:
            raise output_error(self._partial.target, error) from error

    def close(self) -> None:
        """Give the file its name. Raises ExecutionError while frames are missing."""
        if self._ended:
            return
        try:
            self._extent.require_complete()
            self._file.close()
            self._partial.commit()
        except OSError as error:
            raise output_error(self._partial.target, error) from error
        finally:
            self.abort()

    def abort(self) -> None:
        """Remove the unfinished file; idempotent."""
        self._ended = True
        self._partial.discard()
        # A full disk refuses the last buffer, of a file that is gone anyway.
        with contextlib.suppress(OSError):
            self._file.close()
