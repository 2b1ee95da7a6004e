"""The pose network's input: a person cut out of a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

IMAGE_MEAN: Final = np.array([0.485, 0.456, 0.406])
IMAGE_DEVIATION: Final = np.array([0.229, 0.224, 0.225])
_MARGIN = 1.25
_SMALLEST_BOX_PX = 10
# Sides were once given in this unit. The detour decides how halves of pixels are rounded.
_UNIT_PX = 200.0


@dataclass(frozen=True)
class PoseCrop:
    """The part of a picture that a pose is looked for in: its middle and its size, in pixels."""

    centre: tuple[float, float]
    width: float
    height: float


def pose_crop(person: NDArray[np.float64] | None, size: tuple[int, int], aspect: float) -> PoseCrop:
    """The crop around `person`, (left, top, right, bottom, score), in a picture of `size`
    (height, width).

    It is 1.25 times the box, extended to `aspect`, its height over its width. Without a person, or
    with one of less than 10 pixels, it is that of the whole picture.
    """
    box = np.array([0.0, 0.0, size[1], size[0]])
    if person is not None and person[4] > 0:
        sides = person[2:4] - person[:2]
        if sides.min() >= _SMALLEST_BOX_PX:
            box = person[:4]
    tall = max(float(box[2] - box[0]) * aspect, float(box[3] - box[1]))
    width, height = (side / _UNIT_PX * _MARGIN * _UNIT_PX for side in (tall / aspect, tall))
    centre = float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2
    return PoseCrop(centre, width, height)


def pose_input(
    frame: NDArray[np.uint8], crop: PoseCrop, height: int, width: int
) -> NDArray[np.float32]:
    """uint8 [h, w, 3] RGB -> float32 [3, height, width], normalised, black outside the picture.

    Its channels are blue, green, red: upstream's network sees them so, normalised as if they were
    red, green, blue.
    """
    left, top, right, bottom = _edges(crop, height, width)
    inside = frame[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0), ::-1]
    canvas = np.zeros((bottom - top, right - left, 3), dtype=np.float32)
    y, x = max(-top, 0), max(-left, 0)
    canvas[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
    scaled = np.asarray(cv2.resize(canvas, (width, height)))
    normal = (scaled / 255.0 - IMAGE_MEAN) / IMAGE_DEVIATION
    return np.ascontiguousarray(normal.transpose(2, 0, 1), dtype=np.float32)


def _edges(crop: PoseCrop, height: int, width: int) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the crop in whole pixels.

    By inverting the map from the picture to the input, as upstream: many edges lie halfway between
    two pixels, and the last bits of that arithmetic decide to which side they go.
    """
    across = crop.height / (height / width)
    to_input = np.array(
        [
            [width / across, 0.0, width * (-crop.centre[0] / across + 0.5)],
            [0.0, height / crop.height, height * (-crop.centre[1] / crop.height + 0.5)],
            [0.0, 0.0, 1.0],
        ]
    )
    corners = np.linalg.inv(to_input) @ np.array([[0.0, width], [0.0, height], [1.0, 1.0]])
    return (
        round(float(corners[0, 0])),
        round(float(corners[1, 0])),
        round(float(corners[0, 1])),
        round(float(corners[1, 1])),
    )
