"""Pictures as frames of an image-to-video clip.

Upstream stretches the picture to the video's size with PyTorch's bicubic interpolation, without
antialiasing, and does not round it to bfloat16.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SHARPNESS = -0.75  # PyTorch's coefficient of the cubic kernel (Keys 1981)


def still(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.float32]:
    """A picture uint8 [h, w, 3] as a frame, float32 [3, height, width].

    Values are about [-1, 1]: where edges are sharp, interpolation overshoots, and nothing is cut.
    """
    half = np.float32(0.5)
    values = (image.transpose(2, 0, 1).astype(np.float32) / np.float32(255) - half) / half
    return _stretch(_stretch(values, width).swapaxes(1, 2), height).swapaxes(1, 2)


def _stretch(values: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Interpolate the last axis to `size`: pixels' centres aligned, borders repeated.

    Positions are rounded as PyTorch rounds them: exact ones would change the result by 1e-4.
    """
    given = values.shape[-1]
    if given == size:
        return values
    scale = np.float64(np.float32(given) / np.float32(size))
    positions = (scale * (np.arange(size) + 0.5) - 0.5).astype(np.float32)
    before = np.floor(positions)
    result = np.zeros((*values.shape[:-1], size), np.float32)
    for tap in (-1, 0, 1, 2):
        weights = _cubic(np.abs(positions - before - np.float32(tap)))
        result += weights * values[..., np.clip(before.astype(np.int64) + tap, 0, given - 1)]
    return result


def _cubic(distance: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weight of a pixel at 0 <= distance <= 2 from the position."""
    a, x = np.float32(_SHARPNESS), distance
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    weights: NDArray[np.float32] = np.where(x <= 1, near, far)
    return weights


def crop_to_aspect(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """The largest centred part of uint8 [h, w, 3] in the aspect of `height` x `width`, as ComfyUI
    crops the pictures of a clip."""
    given_height, given_width = image.shape[:2]
    right_height = min(given_height, max(1, round(given_width * height / width)))
    right_width = min(given_width, max(1, round(given_height * width / height)))
    top, left = (given_height - right_height) // 2, (given_width - right_width) // 2
    return image[top : top + right_height, left : left + right_width]
