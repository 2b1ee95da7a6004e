"""Whether a video can be a mask: white where something is replaced, black elsewhere.

Masks come as lossy videos with noise and soft edges, so the rule leaves room. It looks at the first
frames in which the mask shows at all, and refuses them

* where they are coloured: where they are not black, the channels of a pixel differ by more than
  8 % of its brightness, on average (a mask in H.264: below 1 %; videos of people: 20 to 70 %);
* where more than half of the pixels are neither black nor white (soft edges: up to a quarter, most
  of it in tiny videos; videos of people: 70 to 99 %).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.errors import InputError
from wan_trt.engine.frames import FrameSource

SCAN_FRAMES = 16
BLACK_UP_TO = 32
"""A pixel value that is still black: video's own black is 16, and compression adds noise."""
WHITE_FROM = 224
MOST_COLOUR = 0.08
MOST_BETWEEN = 0.5


def check_mask(mask: FrameSource) -> None:
    """Scan a mask up to the first frames that show something, and look at those.

    Raises InputError where they are no mask, or where no frame shows anything: upstream crashes on
    such a mask.
    """
    for start in range(0, mask.count, SCAN_FRAMES):
        frames = mask.read(start, min(start + SCAN_FRAMES, mask.count))
        if fault := fault_of(frames):
            raise InputError(
                f"the video is no mask: {fault}",
                expected="white where the character goes, black elsewhere",
                action="give the mask video, and check that it did not change places with the "
                "background",
                field="mask",
            )
        if (frames[..., 0] > BLACK_UP_TO).any():  # the channel that counts, see latent_keep
            return
    raise InputError(
        "the mask is empty: nothing to replace",
        expected="white where the character goes",
        action="check the mask video, or choose animate mode",
        field="mask",
    )


def fault_of(frames: NDArray[np.uint8]) -> str:
    """Why frames, uint8 [n, height, width, 3], are no mask; empty where they may be one. Black
    frames do not count."""
    brightest, darkest = frames.max(axis=-1), frames.min(axis=-1)
    shown = brightest > BLACK_UP_TO
    if not shown.any():
        return ""
    brightness = float(brightest[shown].sum(dtype=np.float64))
    colour = 1 - float(darkest[shown].sum(dtype=np.float64)) / brightness
    if colour > MOST_COLOUR:
        return f"it is coloured, its channels differ by {colour:.0%} of the brightness"
    showing = shown.any(axis=(1, 2))
    between = float((shown & (brightest < WHITE_FROM))[showing].mean())
    if between > MOST_BETWEEN:
        return f"{between:.0%} of its pixels are neither black nor white"
    return ""
