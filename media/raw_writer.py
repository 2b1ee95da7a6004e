"""Frames as their numbers and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wan_trt.media.frame_extent import FrameExtent
from wan_trt.media.frame_file import FrameFile


class RawWriter:
    """A PixelWriter: uint8 [T, height, width, 3] in C order, without a header."""

    def __init__(self, path: Path, *, height: int, width: int, frame_count: int) -> None:
        """Raises MediaError for an unwritable place, ResourceError when the disk is too full."""
        extent, nbytes = FrameExtent(height, width, frame_count), height * width * 3 * frame_count
        self._file = FrameFile(path, extent, lambda path: path.open("xb"), nbytes)

    def write(self, pixels: NDArray[np.uint8]) -> None:
        """Append frames, uint8 [n, height, width, 3]."""
        self._file.extent.accept(pixels.shape)
        with self._file.failing():
            self._file.open.write(np.ascontiguousarray(pixels).data)

    def close(self) -> None:
        """Give the file its name. Raises ExecutionError while frames are missing."""
        self._file.close()

    def abort(self) -> None:
        """Remove the unfinished file; idempotent."""
        self._file.abort()
