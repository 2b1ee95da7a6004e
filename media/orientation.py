"""How a stored frame is turned to stand upright, from the display matrix of its container."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_ONE = 1 << 16


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways to lay a picture: transpose first, then flip."""

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the upright frame."""
        return (width, height) if self.transpose else (height, width)

    def upright(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The upright view of stored pixels [height, width, 3]."""
        if self.transpose:
            pixels = pixels.transpose(1, 0, 2)
        if self.flip_rows:
            pixels = pixels[::-1]
        if self.flip_columns:
            pixels = pixels[:, ::-1]
        return pixels


def parse_display_matrix(matrix: bytes) -> Orientation | None:
    """The orientation a display matrix asks for; None where it is not a multiple of 90 degrees.

    The matrix is nine int32 in 16.16 fixed point, [a b u; c d v; x y w]; a stored point (x, y)
    appears at (a x + c y, b x + d y). Translations only bring the picture back to the origin.
    """
    a, b, _, c, d = struct.unpack("=5i", matrix[:20])
    if abs(a) == _ONE and abs(d) == _ONE and b == 0 and c == 0:
        return Orientation(False, flip_rows=d < 0, flip_columns=a < 0)
    if abs(b) == _ONE and abs(c) == _ONE and a == 0 and d == 0:
        return Orientation(True, flip_rows=b < 0, flip_columns=c < 0)
    return None
