"""From the decoder's floats to 8-bit pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.errors import ExecutionError


def to_pixels(frames: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Frames in [-1, 1] as uint8 of the same shape: clamp, then (x + 1) / 2 * 255 cut off.

    Cutting off instead of rounding is what the official video writer does. Raises ExecutionError
    for NaN, which has no pixel value.
    """
    if np.isnan(frames).any():
        raise ExecutionError("the frames to be written contain NaN", expected="values in [-1, 1]")
    clamped = np.clip(frames, np.float32(-1), np.float32(1))
    return ((clamped + np.float32(1)) / np.float32(2) * np.float32(255)).astype(np.uint8)
