"""Landmarks of MediaPipe Holistic, as JSON of its results.

    {"width": 1280, "height": 720, "fps": [30, 1], "frames": [
        {"pose_landmarks": [{"x": 0.5, "y": 0.2, "z": 0, "visibility": 0.9}, .. 33],
         "face_landmarks": [.. 468 or 478], "left_hand_landmarks": [.. 21],
         "right_hand_landmarks": [.. 21]}, ..]}

A landmark may also be [x, y, ..] (of the pose: [x, y, z, visibility]); a part that was not found is
null or left out; the names may be written as in JavaScript (poseLandmarks). Places are parts of the
picture's sides. Width, height and fps are the driver's where they are left out.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.frames import FrameSource
from wan_trt.preprocess.keypoint_files.json_files import (
    checked_points,
    checked_size,
    positive,
    unusable,
)
from wan_trt.preprocess.keypoints import POINTS, KeypointTrack
from wan_trt.preprocess.poses import LEFT_HAND, RIGHT_HAND

# Pose landmark of each body point: nose, eyes, ears, shoulders .. ankles; then of big toes and
# heels (there is no small toe).
_BODY = (0, 2, 5, 7, 8, *range(11, 17), *range(23, 29))
_FEET = {17: 31, 19: 29, 20: 32, 22: 30}
# Face mesh vertices nearest to the 68 points of iBUG.
_FACE = (
    *(162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389),
    *(71, 63, 105, 66, 107, 336, 296, 334, 293, 301),
    *(168, 197, 5, 4, 75, 97, 2, 326, 305),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87),
)
_FIRST_OF_FACE = 23
_PARTS = {"pose": (33, 33), "face": (468, 478), "left_hand": (21, 21), "right_hand": (21, 21)}


def is_mediapipe(content: dict[str, object]) -> bool:
    """Whether an object looks like such a file."""
    frames = content.get("frames")
    return isinstance(frames, list) and all(
        frame is None or isinstance(frame, dict) for frame in frames
    )


def mediapipe_track(
    path: Path, content: dict[str, object], driver: FrameSource | None
) -> KeypointTrack:
    """The track in a file of that form.

    Body points have their visibility as score, those of a face or hand that was found 1; points
    outside the picture are missing. Raises MediaError, naming what is wrong.
    """
    sides = content.get("width"), content.get("height")
    if sides == (None, None) and driver is not None:
        sides = driver.width, driver.height
    width, height = checked_size(path, *sides)
    frames = content["frames"]
    if not isinstance(frames, list) or not frames:
        raise unusable(path, "no frames", "at least one frame")
    points = np.zeros((len(frames), POINTS, 3))
    for index, frame in enumerate(frames):
        _fill(path, index, frame or {}, points[index])
    outside = ((points[..., :2] < 0) | (points[..., :2] > 1)).any(axis=2)
    points[outside] = 0
    points[..., :2] *= (width, height)
    rate = _rate(path, content.get("fps")) or (None if driver is None else driver.rate)
    return KeypointTrack(width, height, rate, checked_points(path, points))


def _fill(path: Path, index: int, frame: dict[str, object], points: NDArray[np.float64]) -> None:
    found = {name: _landmarks(path, index, name, frame) for name in _PARTS}
    pose, face = found["pose"], found["face"]
    if pose is not None:
        points[: len(_BODY)] = pose[list(_BODY)]
        for target, source in _FEET.items():
            points[target] = pose[source]
    if face is not None:
        points[_FIRST_OF_FACE : _FIRST_OF_FACE + len(_FACE), :2] = face[list(_FACE), :2]
        points[_FIRST_OF_FACE : _FIRST_OF_FACE + len(_FACE), 2] = 1
    for name, place in (("left_hand", LEFT_HAND), ("right_hand", RIGHT_HAND)):
        hand = found[name]
        if hand is not None:
            points[place, :2], points[place, 2] = hand[:, :2], 1


def _landmarks(
    path: Path, index: int, name: str, frame: dict[str, object]
) -> NDArray[np.float64] | None:
    """[n, 3] of (x, y, visibility), None where the part was not found."""
    first, *others = name.split("_")
    script = first + "".join(word.capitalize() for word in others) + "Landmarks"
    value = frame.get(f"{name}_landmarks", frame.get(script))
    if not value:
        return None
    where = f"frame {index}: {name}_landmarks"
    try:
        if not isinstance(value, list):
            raise TypeError
        places = np.array([_place(entry) for entry in value], dtype=np.float64)
    except (TypeError, ValueError, KeyError, IndexError):
        raise unusable(path, f"{where} are of another form", "x, y, z and visibility") from None
    if len(places) not in _PARTS[name]:
        counts = " or ".join(str(n) for n in sorted(set(_PARTS[name])))
        raise unusable(path, f"{where}: {len(places)} of them", counts)
    return places


def _place(entry: object) -> tuple[float, float, float]:
    if isinstance(entry, dict):
        return float(entry["x"]), float(entry["y"]), float(entry.get("visibility", 1.0))
    if not isinstance(entry, list):
        raise TypeError
    return float(entry[0]), float(entry[1]), float(entry[3]) if len(entry) > 3 else 1.0


def _rate(path: Path, value: object) -> Fraction | None:
    if value is None:
        return None
    if isinstance(value, list) and len(value) == 2:
        return Fraction(*(positive(path, "fps", part) for part in value))
    return Fraction(positive(path, "fps", value))
