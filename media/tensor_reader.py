"""Frames in a safetensors file: tensor `frames`, uint8 [T, H, W, 3], or [T, H, W] for masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.errors import MediaError
from wan_trt.media.frame_range import check_range
from wan_trt.media.input_files import require_size
from wan_trt.media.limits import GENEROUS, MediaLimits
from wan_trt.media.tensor_file import TensorFile

FRAMES = "frames"


class TensorFrames:
    """A FrameSource over tensor `frames`, read in slices. A tensor has no clock: rate is None."""

    rate = None

    def __init__(
        self, path: Path, field: str | None = None, limits: MediaLimits = GENEROUS
    ) -> None:
        """Raises MediaError when the tensor is missing, or of another type, rank or size."""
        self._file = TensorFile(path, field, limits)
        shape = frames_shape(self._file)
        if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] != 3):
            raise wrong_shape(self._file, shape, "[T,H,W,3], or [T,H,W] for a mask")
        if shape[0] == 0:
            raise wrong_shape(self._file, shape, "at least one frame")
        require_size(path, shape[1], shape[2], field)
        limits.check_video(path, self._file.nbytes, shape[0], shape[1], shape[2], field)
        self.count, self.height, self.width = shape[:3]
        self._grey = len(shape) == 3

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Frames start..stop-1 as uint8 [stop - start, height, width, 3]; masks repeat thrice."""
        check_range(start, stop, self.count)
        if start == stop:
            return np.empty((0, self.height, self.width, 3), np.uint8)
        frames: NDArray[np.uint8] = self._file.rows(FRAMES, start, stop)
        return np.repeat(frames[..., None], 3, axis=3) if self._grey else frames

    def close(self) -> None:
        self._file.close()


def read_tensor_picture(
    path: Path, field: str | None = None, limits: MediaLimits = GENEROUS
) -> NDArray[np.uint8]:
    """One picture, uint8 [height, width, 3], from `frames` as [1, H, W, 3] or [H, W, 3]."""
    file = TensorFile(path, field, limits)
    try:
        shape = frames_shape(file)
        if shape[-1:] != (3,) or len(shape) not in (3, 4) or (len(shape) == 4 and shape[0] != 1):
            raise wrong_shape(file, shape, "one picture, [1,H,W,3] or [H,W,3]")
        require_size(path, shape[-3], shape[-2], field)
        limits.check_picture(path, file.nbytes, shape[-3], shape[-2], field)
        picture: NDArray[np.uint8] = file.tensor(FRAMES).reshape(shape[-3:])
        return picture
    finally:
        file.close()


def frames_shape(file: TensorFile) -> tuple[int, ...]:
    """Shape of `frames`; raises MediaError unless it is there and uint8."""
    if FRAMES not in file.names:
        raise MediaError(
            f"{file.path}: no tensor {FRAMES!r}, only {', '.join(file.names[:5]) or 'none'}",
            expected=f"a uint8 tensor {FRAMES!r}",
            action="rename the tensor",
            field=file.field,
        )
    dtype = file.dtype(FRAMES)
    if dtype != "U8":
        raise MediaError(
            f"{file.path}: tensor {FRAMES!r} is {dtype}",
            expected="U8, pixels of 0 to 255",
            action="convert it to uint8",
            field=file.field,
        )
    return file.shape(FRAMES)


def wrong_shape(file: TensorFile, shape: tuple[int, ...], expected: str) -> MediaError:
    """The error for a `frames` tensor of an unusable shape."""
    return MediaError(
        f"{file.path}: tensor {FRAMES!r} has shape {list(shape)}",
        expected=expected,
        action="cut or reshape it, or name another file",
        field=file.field,
    )
