"""Faces drawn from key points: a stand-in where there is no driving video to cut them out of."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from wan_trt.media.frame_range import check_range
from wan_trt.preprocess.face_crop import FaceBoxes
from wan_trt.preprocess.gaps import stand_ins
from wan_trt.preprocess.poses import PoseTrack

Colour = tuple[int, int, int]

_SCENE: Colour = (70, 84, 96)
_SKIN: Colour = (224, 178, 148)
_SHADE: Colour = (176, 126, 100)
_BROW: Colour = (74, 50, 40)
_EYE_WHITE: Colour = (244, 244, 240)
_LIP: Colour = (182, 74, 78)
_IRIS_SHUT, _IRIS_WIDE = (60, 44, 40), (52, 120, 168)
_MOUTH_SHUT, _MOUTH_WIDE = (110, 40, 46), (28, 6, 10)
# Opening (height over width) at which an eye or a mouth counts as wide open.
_EYE_WIDE_AT, _MOUTH_WIDE_AT = 0.4, 0.6

# iBUG-68 numbering.
_JAW, _NOSE_RIDGE, _NOSTRILS = slice(0, 17), slice(27, 31), slice(31, 36)
_BROWS = (slice(17, 22), slice(22, 27))
_EYES = (slice(36, 42), slice(42, 48))
_LIPS, _MOUTH = slice(48, 60), slice(60, 68)


class DrawnFaces:
    """A FrameSource of simple faces, `face_size` x `face_size`, from the 68 face points.

    It moves as the person did and lets a demonstration run without any photograph, but it is no
    substitute for a filmed face: the motion encoder was trained on those. `faces` are the boxes a
    crop would have had. A frame without a face repeats a neighbour's; a track without any shows an
    empty scene.
    """

    def __init__(self, poses: PoseTrack, faces: FaceBoxes, face_size: int) -> None:
        if poses.count != faces.count:
            raise ValueError(f"{faces.count} face boxes for {poses.count} frames")
        self._points = poses.face[:, 1:] * np.array([poses.width, poses.height, 1.0])
        self._drawn_frames = stand_ins((self._points[:, :, 2] > 0).all(axis=1))
        self._boxes = faces.boxes
        self.count, self.rate = poses.count, poses.rate
        self.height = self.width = face_size

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        check_range(start, stop, self.count)
        pictures = np.empty((stop - start, self.height, self.width, 3), dtype=np.uint8)
        pictures[:] = _SCENE
        if self._drawn_frames is not None:
            for offset, index in enumerate(self._drawn_frames[start:stop]):
                box = self._boxes[index]
                scale = np.array([self.width / box.width, self.height / box.height])
                points = (self._points[index, :, :2] - (box.left, box.top)) * scale
                _draw_face(pictures[offset], points)
        return pictures

    def close(self) -> None:
        """Nothing is held open."""


def _draw_face(picture: NDArray[np.uint8], points: NDArray[np.float64]) -> None:
    line = max(1, len(picture) // 64)
    _fill(picture, _head_outline(points[_JAW]), _SKIN)
    for brow in _BROWS:
        _stroke(picture, points[brow], _BROW, 2 * line)
    for part in (_NOSE_RIDGE, _NOSTRILS):
        _stroke(picture, points[part], _SHADE, line)
    for eye in _EYES:
        _draw_eye(picture, points[eye], line)
    _fill(picture, points[_LIPS], _LIP)
    opening = _opening(points[_MOUTH]) / _MOUTH_WIDE_AT
    _fill(picture, points[_MOUTH], _blend(_MOUTH_SHUT, _MOUTH_WIDE, opening))


def _draw_eye(picture: NDArray[np.uint8], points: NDArray[np.float64], line: int) -> None:
    opening = _opening(points)
    _fill(picture, points, _EYE_WHITE)
    radius = max(1, round(0.35 * opening * float(np.ptp(points[:, 0]))))
    centre = points.mean(axis=0)
    colour = _blend(_IRIS_SHUT, _IRIS_WIDE, opening / _EYE_WIDE_AT)
    cv2.circle(picture, (int(centre[0]), int(centre[1])), radius, colour, -1, cv2.LINE_AA)
    _stroke(picture, points, _SHADE, line, closed=True)


def _head_outline(jaw: NDArray[np.float64]) -> NDArray[np.float64]:
    """The jaw line, closed over the forehead by half an ellipse from ear to ear."""
    right, left, chin = jaw[0], jaw[-1], jaw[len(jaw) // 2]
    centre = (right + left) / 2
    angles = np.linspace(0.0, np.pi, 24)[1:-1, None]
    # As high above the ears as the chin is below them, a little flatter.
    forehead = centre + np.cos(angles) * (left - centre) + np.sin(angles) * 0.8 * (centre - chin)
    return np.concatenate([jaw, forehead])


def _opening(ring: NDArray[np.float64]) -> float:
    """Height over width of an eye or a mouth."""
    width, height = np.ptp(ring, axis=0)
    return float(height / width) if width > 0 else 0.0


def _blend(shut: Sequence[int], wide: Sequence[int], part: float) -> Colour:
    part = min(max(part, 0.0), 1.0)
    red, green, blue = (round(a + (b - a) * part) for a, b in zip(shut, wide, strict=True))
    return red, green, blue


def _fill(picture: NDArray[np.uint8], outline: NDArray[np.float64], colour: Colour) -> None:
    cv2.fillPoly(picture, [np.round(outline).astype(np.int32)], colour, cv2.LINE_AA)


def _stroke(
    picture: NDArray[np.uint8],
    points: NDArray[np.float64],
    colour: Colour,
    width: int,
    closed: bool = False,
) -> None:
    path = np.round(points).astype(np.int32)
    cv2.polylines(picture, [path], closed, colour, width, cv2.LINE_AA)
