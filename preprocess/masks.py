"""Replace mode: the region that is made anew, from the person's outline. White (1) is replaced."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.errors import InputError


@dataclass(frozen=True)
class MaskShape:
    """How far the replaced region reaches beyond the outline and how coarse its border is.

    The outline is dilated `iterations` times with a square of `kernel` pixels, then its bounding
    box is cut into `columns` x `rows` cells and every cell that has a white pixel becomes white.
    One cell makes the region a rectangle; more follow the outline. With 0 iterations the outline is
    used as it is. These are upstream's defaults.
    """

    kernel: int = 7
    iterations: int = 3
    columns: int = 1
    rows: int = 1

    def __post_init__(self) -> None:
        for name, least in (("kernel", 1), ("iterations", 0), ("columns", 1), ("rows", 1)):
            if getattr(self, name) < least:
                raise InputError(
                    f"{getattr(self, name)}",
                    expected=f"a whole number of at least {least}",
                    action="correct the mask's shape",
                    field=f"mask {name}",
                )


def dilate(mask: NDArray[np.uint8], kernel: int, iterations: int) -> NDArray[np.uint8]:
    """`mask` [h, w] of 0 and 1, grown `iterations` times by a square of `kernel` pixels."""
    square = np.ones((kernel, kernel), dtype=np.uint8)
    return np.asarray(cv2.dilate(mask, square, iterations=iterations), dtype=np.uint8)


def fill_cells(mask: NDArray[np.uint8], columns: int, rows: int) -> NDArray[np.uint8]:
    """Cut the mask's bounding box into cells; a cell with a 1 in it becomes all 1.

    `mask` is uint8 [h, w] of 0 and 1. A cell's size is the box's divided by the count, rounded
    down, so a few more cells than asked for may be cut. The box's last row and last column belong
    to no cell and stay as they are (upstream). Where upstream raises: an empty mask stays empty,
    a box narrower than the number of cells is cut into single pixels.
    """
    filled = mask.copy()
    used_rows, used_columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(used_rows) == 0:
        return filled
    top, bottom = int(used_rows[0]), int(used_rows[-1])
    left, right = int(used_columns[0]), int(used_columns[-1])
    cell_height = max((bottom - top) // rows, 1)
    cell_width = max((right - left) // columns, 1)
    for y in range(top, bottom, cell_height):
        for x in range(left, right, cell_width):
            cell = slice(y, min(y + cell_height, bottom)), slice(x, min(x + cell_width, right))
            if mask[cell].any():
                filled[cell] = 1
    return filled


def replaced_region(outline: NDArray[np.uint8], shape: MaskShape) -> NDArray[np.uint8]:
    """The region to replace, uint8 [h, w] of 0 and 1, from the person's outline of the same kind.

    An empty outline gives an empty region: nothing is replaced in that frame.
    """
    if shape.iterations == 0:
        return outline
    grown = dilate(outline, shape.kernel, shape.iterations)
    return fill_cells(grown, shape.columns, shape.rows)


def paint_white(picture: NDArray[np.uint8], region: NDArray[np.uint8]) -> None:
    """Make `picture` [h, w, 3] white (255) in the region [h, w] of 0 and 1, black elsewhere."""
    cv2.cvtColor(np.multiply(region, 255, dtype=np.uint8), cv2.COLOR_GRAY2RGB, dst=picture)


def paint_background(
    picture: NDArray[np.uint8], frame: NDArray[np.uint8], mask: NDArray[np.uint8]
) -> None:
    """Make `picture` the frame, black where the mask is white. All [h, w, 3], the mask of 0 and
    255."""
    cv2.subtract(frame, mask, dst=picture)  # never below 0
