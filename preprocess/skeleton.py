"""The picture of a pose that the model was trained on: coloured limbs on black."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from wan_trt.preprocess.limbs import LIMBS
from wan_trt.preprocess.poses import PoseTrack

# A point with a lower score is not drawn, a limb needs both of its ends.
SCORE_THRESHOLD = 0.5

Colour = tuple[int, int, int]

# Joint i is drawn in colour i, limb i in colour i at 0.6 of its brightness.
_COLOURS: tuple[Colour, ...] = (
    *((255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0)),
    *((85, 255, 0), (0, 255, 0), (0, 255, 85), (0, 255, 170), (0, 255, 255)),
    *((0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255), (170, 0, 255)),
    *((255, 0, 255), (255, 0, 170), (255, 0, 85), (200, 200, 0), (100, 100, 0)),
)
_LIMB_BRIGHTNESS = 0.6
_FINGER_BONES = tuple(
    (0 if part == 0 else 4 * finger + part, 4 * finger + part + 1)
    for finger in range(5)
    for part in range(4)
)
_HAND_POINT_COLOUR: Colour = (0, 0, 255)
# A hand point closer to the left or top border than this is not drawn.
_HAND_MARGIN_PX = 0.01


def stick_width(height: int, width: int) -> int:
    """Half the width of a limb in pixels: 1 at 480p, 2 at 720p, 4 at 1080p."""
    return max(int(min(height, width) / 200) - 1, 1)


def draw_pose(poses: PoseTrack, frame: int, height: int, width: int) -> NDArray[np.uint8]:
    """One frame's pose on black, uint8 [height, width, 3] RGB.

    Equal to upstream's `draw_aapose_by_meta_new` with stick width 'v2', pixel by pixel with
    OpenCV 4: body and hands, no face. What lies outside the canvas is clipped.
    """
    canvas = np.zeros((height, width, 3), dtype=np.uint8)
    scale = np.array([width, height, 1.0])
    stick = stick_width(height, width)
    _draw_body(canvas, poses.body[frame] * scale, stick)
    for hand in (poses.left_hand, poses.right_hand):
        _draw_hand(canvas, hand[frame] * scale, max(stick // 2, 1))
    return canvas


def _draw_body(canvas: NDArray[np.uint8], joints: NDArray[np.float64], stick: int) -> None:
    for limb, (first, second) in enumerate(LIMBS):
        if min(joints[first, 2], joints[second, 2]) >= SCORE_THRESHOLD:
            colour = tuple(int(part * _LIMB_BRIGHTNESS) for part in _COLOURS[limb])
            _draw_limb(canvas, joints[first], joints[second], stick, colour)
    for (x, y, score), colour in zip(joints, _COLOURS, strict=True):
        if score >= SCORE_THRESHOLD:
            cv2.circle(canvas, (int(x), int(y)), stick, colour, thickness=-1)


def _draw_limb(
    canvas: NDArray[np.uint8],
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    stick: int,
    colour: Sequence[int],
) -> None:
    """A limb is a filled ellipse whose centre, half length and angle are truncated to integers."""
    across, down = start[0] - end[0], start[1] - end[1]
    half_length = int(math.sqrt(across**2 + down**2) / 2)
    centre = int((start[0] + end[0]) / 2), int((start[1] + end[1]) / 2)
    angle = int(math.degrees(math.atan2(down, across)))
    outline = cv2.ellipse2Poly(centre, (half_length, stick), angle, 0, 360, 1)
    cv2.fillConvexPoly(canvas, np.asarray(outline), colour)


def _draw_hand(canvas: NDArray[np.uint8], points: NDArray[np.float64], width: int) -> None:
    visible = (points[:, 2] >= SCORE_THRESHOLD) & (points[:, :2] > _HAND_MARGIN_PX).all(axis=1)
    places = [(int(x), int(y)) for x, y in points[:, :2]]
    for bone, (first, second) in enumerate(_FINGER_BONES):
        if visible[first] and visible[second]:
            hue = bone / len(_FINGER_BONES)
            colour = tuple(255 * part for part in colorsys.hsv_to_rgb(hue, 1.0, 1.0))
            cv2.line(canvas, places[first], places[second], colour, thickness=width)
    for place, shown in zip(places, visible, strict=True):
        if shown:
            cv2.circle(canvas, place, width, _HAND_POINT_COLOUR, thickness=-1)
