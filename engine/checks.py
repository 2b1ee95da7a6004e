"""Checks of single values that requests of all kinds share."""

from __future__ import annotations

import math

import numpy as np

from wan_trt.engine.errors import InputError
from wan_trt.engine.geometry import Geometry
from wan_trt.engine.rope import POSITIONS

MAX_SIDE = 8192
MAX_PIXELS = 4096 * 2304
MAX_PICTURE_SIDE = 16384


def check_number(
    field: str, value: float, low: float, high: float, *, whole: bool = False, above: bool = False
) -> None:
    right = isinstance(value, int) if whole else isinstance(value, (int, float))
    if (
        not right
        or isinstance(value, bool)
        or not math.isfinite(value)
        or not low <= value <= high
        or (above and value == low)
    ):
        kind = "a whole number" if whole else "a number"
        bounds = f"above {low}, at most {high}" if above else f"from {low} to {high}"
        raise InputError(f"{value!r}", expected=f"{kind} {bounds}", action="change it", field=field)


def check_picture(field: str, image: object) -> None:
    """Raises InputError unless `image` is uint8 [height, width, 3] of a reasonable size."""
    if (
        not isinstance(image, np.ndarray)
        or image.dtype != np.uint8
        or image.ndim != 3
        or image.shape[2] != 3
        or not 0 < max(image.shape[:2]) <= MAX_PICTURE_SIDE
        or min(image.shape[:2]) < 1
    ):
        found = (
            f"{image.dtype} {list(image.shape)}"
            if isinstance(image, np.ndarray)
            else type(image).__name__
        )
        raise InputError(
            found,
            expected=f"uint8 [height, width, 3], at most {MAX_PICTURE_SIDE} pixels a side",
            action="convert the picture to 8-bit RGB",
            field=field,
        )


def check_extent(field: str, height: int, width: int) -> None:
    """Raises InputError for an output that is larger than anything the model can be meant for."""
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise InputError(
            f"{width}x{height} pixels",
            expected=f"at most {MAX_SIDE} a side and {MAX_PIXELS} in all",
            action="choose a smaller size; the model was made for 1280x720",
            field=field,
        )


def check_length(field: str, frames: int, reference_latents: int, geometry: Geometry) -> None:
    """Raises InputError for more frames in one pass than the model has positions for."""
    most = (POSITIONS - 1 - reference_latents) * geometry.time_stride + 1
    if frames > most:
        raise InputError(
            f"{frames} frames",
            expected=f"at most {most}, the model's last position",
            action="use about as many as the model was trained on, 77 or 81",
            field=field,
        )
