"""Pictures inside a page."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

AMPLIFICATION = 16
_GREY = 128


def png_uri(picture: NDArray[np.uint8]) -> str:
    """uint8 [H, W, 3] as a data: URI."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def amplified(reference: NDArray[np.uint8], candidate: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """candidate - reference times AMPLIFICATION around mid-grey, uint8 of their shape."""
    difference = (candidate.astype(np.int32) - reference) * AMPLIFICATION + _GREY
    clipped: NDArray[np.uint8] = np.clip(difference, 0, 255).astype(np.uint8)
    return clipped
