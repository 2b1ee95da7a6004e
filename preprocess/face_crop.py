"""Where the face is: the box that is cut out of a frame and shown to the motion encoder."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from wan_trt.preprocess.boxes import Box, central_square, clipped_box
from wan_trt.preprocess.gaps import stand_ins
from wan_trt.preprocess.poses import PoseTrack

# The box of the points is enlarged to this many times its area.
AREA_SCALE = 1.3
# A face is found when at least this part of its 68 points is: fewer make a wrong box.
_NEEDED_PART = 0.5


@dataclass(frozen=True)
class FaceBoxes:
    """The face box of every frame, never empty, and how many frames had to borrow theirs."""

    boxes: tuple[Box, ...] = field(repr=False)
    missing: int

    @property
    def count(self) -> int:
        return len(self.boxes)


def face_box(face: NDArray[np.float64], height: int, width: int, scale: float = AREA_SCALE) -> Box:
    """The face box in a picture of `height` x `width` pixels.

    `face` is [69, 2 or more], normalised; the first point is none of the face. The box of the other
    68 is enlarged to `scale` times its area, its aspect kept; three quarters of the extra height go
    to the forehead, one quarter below the chin; it is cut off at the borders and truncated
    (upstream). The box is empty when the face lies outside or its points fall into one line.
    """
    points = face[1:, :2] * np.array([width, height])
    left, top = points.min(axis=0)
    right, bottom = points.max(axis=0)
    box_width, box_height = right - left, bottom - top
    if box_width <= 0 or box_height <= 0:
        return Box(0, 0, 0, 0)
    area = box_width * box_height * scale
    extra_width = (np.sqrt(area * (box_width / box_height)) - box_width) / 2
    extra_height = (np.sqrt(area * (box_height / box_width)) - box_height) / 4
    return clipped_box(
        left - extra_width,
        right + extra_width,
        top - 3 * extra_height,
        bottom + extra_height,
        height,
        width,
    )


def face_boxes(poses: PoseTrack) -> FaceBoxes:
    """The face boxes of a track, in pixels of its picture.

    Missing points (score 0) are left out of the box. A frame in which fewer than half of the points
    were found, or whose box is empty, takes the box of the last frame before it that has one, or of
    the first one after; when no frame has one, all take a square in the middle of the picture.
    Upstream has no such frames: it takes any point, whatever its score, and fails on empty boxes.
    """
    candidates = [_found_box(face, poses.height, poses.width) for face in poses.face]
    found = [not box.empty for box in candidates]
    indices = stand_ins(found)
    if indices is None:
        boxes = [central_square(poses.height, poses.width)] * len(candidates)
    else:
        boxes = [candidates[index] for index in indices]
    return FaceBoxes(tuple(boxes), found.count(False))


def _found_box(face: NDArray[np.float64], height: int, width: int) -> Box:
    present = face[:, 2] > 0
    if np.count_nonzero(present[1:]) < _NEEDED_PART * (len(face) - 1):
        return Box(0, 0, 0, 0)
    present[0] = True  # keeps its place as the point that is left out
    return face_box(face[present], height, width)


def crop_face(frame: NDArray[np.uint8], box: Box, size: int) -> NDArray[np.uint8]:
    """The box cut out of a frame [h, w, 3] and resized, bilinear, to [size, size, 3].

    The aspect is not kept (upstream).
    """
    return np.asarray(cv2.resize(box.cut(frame), (size, size)), dtype=np.uint8)
