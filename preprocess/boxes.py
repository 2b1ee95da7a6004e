"""Rectangles of whole pixels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Box(NamedTuple):
    """Columns left..right-1 and rows top..bottom-1 of a picture."""

    left: int
    right: int
    top: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def empty(self) -> bool:
        return self.width < 1 or self.height < 1

    def cut(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The part of `frame`, [height, width, ..], inside the box: a view."""
        return frame[self.top : self.bottom, self.left : self.right]


def clipped_box(
    left: float, right: float, top: float, bottom: float, height: int, width: int
) -> Box:
    """The box of these edges cut off at the borders of a picture and truncated to whole pixels.

    A box that lies outside the picture comes back empty.
    """
    return Box(
        int(max(left, 0)), int(min(right, width)), int(max(top, 0)), int(min(bottom, height))
    )


def central_square(height: int, width: int) -> Box:
    """The square in the middle of a picture whose side is half the picture's shorter one."""
    side = max(1, min(height, width) // 2)
    left, top = (width - side) // 2, (height - side) // 2
    return Box(left, left + side, top, top + side)
