"""A safetensors file written front to back: frames while they come, other tensors behind them."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wan_trt.media.frame_extent import FrameExtent
from wan_trt.media.frame_file import FrameFile

_TYPES = {np.dtype(np.uint8): "U8", np.dtype(np.float32): "F32"}


class TensorWriter:
    """Tensor `frames` [T, H, W, 3] of uint8 or float32, and any others, without holding them.

        | length | header, padded | frames: size known | tensors in order of arrival |

    The header comes first in the format but is known last, so its place is reserved: enough for
    one more tensor per frame. The format allows spaces behind the header.
    """

    def __init__(
        self, path: Path, *, height: int, width: int, frame_count: int, dtype: type[np.generic]
    ) -> None:
        """Raises MediaError for an unwritable place, ResourceError when the disk is too full."""
        extent = FrameExtent(height, width, frame_count)
        self._dtype = np.dtype(dtype)
        self._reserved = 1024 + 128 * frame_count
        self._frame_nbytes = height * width * 3 * self._dtype.itemsize
        self._end = self._frame_nbytes * frame_count
        self._entries: dict[str, Any] = {
            "frames": self._entry(self._dtype, (frame_count, height, width, 3), 0)
        }
        self._file = FrameFile(path, extent, lambda path: path.open("xb"), self._end)

    def write(self, frames: NDArray[Any]) -> None:
        """Append frames [n, height, width, 3] of the writer's type."""
        if frames.dtype != self._dtype:
            raise ValueError(f"frames must be {self._dtype}, not {frames.dtype}")
        offset = self._file.extent.written * self._frame_nbytes
        self._file.extent.accept(frames.shape)
        self._put(offset, frames)

    def add(self, name: str, tensor: NDArray[Any]) -> None:
        """Append a whole tensor under a name of its own."""
        if name in self._entries:
            raise ValueError(f"tensor {name} is written twice")
        self._entries[name] = self._entry(tensor.dtype, tensor.shape, self._end)
        self._put(self._end, tensor)
        self._end += tensor.nbytes

    def close(self) -> None:
        """Write the header and give the file its name; ExecutionError while frames are missing."""
        self._file.close(self._write_header)

    def abort(self) -> None:
        """Remove the unfinished file; idempotent."""
        self._file.abort()

    def _write_header(self) -> None:
        header = json.dumps(self._entries, separators=(",", ":")).encode()
        if len(header) > self._reserved:
            raise ValueError(f"{len(self._entries)} tensors do not fit the reserved header")
        self._file.open.seek(0)
        self._file.open.write(struct.pack("<Q", self._reserved) + header.ljust(self._reserved))

    def _entry(self, dtype: np.dtype[Any], shape: tuple[int, ...], start: int) -> dict[str, Any]:
        nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        return {
            "dtype": _TYPES[dtype],
            "shape": list(shape),
            "data_offsets": [start, start + nbytes],
        }

    def _put(self, offset: int, tensor: NDArray[Any]) -> None:
        with self._file.failing():
            self._file.open.seek(8 + self._reserved + offset)
            self._file.open.write(np.ascontiguousarray(tensor).data)
