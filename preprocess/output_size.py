"""What size an area budget means."""

from __future__ import annotations

import math

from wan_trt.engine.errors import InputError

# VAE stride 8 times patch 2: the output's height and width are multiples of it.
MULTIPLE = 16


def size_for_area(height: int, width: int, area: int) -> tuple[int, int]:
    """(height, width) with about the given aspect ratio and `area` pixels, multiples of 16.

    Both are rounded down, each by itself, so the aspect changes a little: the rest is letterboxed.
    Upstream's search for a better size always raises and is caught; this is the formula it falls
    back to. Raises InputError when the budget is too small for one block of 16 x 16.
    """
    ideal_height = math.sqrt(area / (width / height)) if area > 0 else 0.0
    ideal_width = area / ideal_height if area > 0 else 0.0
    size = (int(ideal_height // MULTIPLE) * MULTIPLE, int(ideal_width // MULTIPLE) * MULTIPLE)
    if min(size) < MULTIPLE:
        raise InputError(
            f"{area} pixels at the aspect {width}:{height}",
            expected=f"at least {MULTIPLE} pixels on each side",
            action="give a larger area, or a picture that is less narrow",
            field="area",
        )
    return size
