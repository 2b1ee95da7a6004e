"""OpenPose's JSON: a file a frame in a folder, or, as ComfyUI's nodes save it, a list of frames.

    {"people": [{"pose_keypoints_2d": [x, y, c, ..], "face_keypoints_2d": [..],
                 "hand_left_keypoints_2d": [..], "hand_right_keypoints_2d": [..]}, ..],
     "canvas_width": 1280, "canvas_height": 720}

Bodies have 25 points (BODY_25) or 18 (COCO), faces 70 or 68, hands 21. The canvas is optional:
OpenPose itself writes none. Coordinates are pixels, or parts of the canvas where none is above 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.frames import FrameSource
from wan_trt.preprocess.keypoint_files.json_files import (
    checked_points,
    checked_size,
    read_json,
    rows,
    unusable,
)
from wan_trt.preprocess.keypoints import POINTS, KeypointTrack
from wan_trt.preprocess.person_choice import PersonChoice, PersonFollower
from wan_trt.preprocess.poses import LEFT_HAND, RIGHT_HAND

# Whole-body index of each point, by how many there are; None where it has none.
_BODIES: Mapping[int, tuple[int | None, ...]] = {
    18: (0, None, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3),
    25: (
        *(0, None, 6, 8, 10, 5, 7, 9, None, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3),
        *(17, 18, 19, 20, 21, 22),
    ),
}
_FACE_POINTS, _FIRST_OF_FACE = 68, 23  # the pupils, 68 and 69, have no place
_HAND_POINTS = 21
_ROW = 3


def openpose_folder(path: Path, driver: FrameSource | None, choice: PersonChoice) -> KeypointTrack:
    """The track in a folder's .json files, one a frame, in the order of their names."""
    files = sorted(path.glob("*.json"))
    if not files:
        raise unusable(path, "a folder without .json files", "OpenPose's, one a frame")
    return openpose_track(path, [read_json(file) for file in files], driver, choice)


def openpose_track(
    path: Path, frames: Sequence[object], driver: FrameSource | None, choice: PersonChoice
) -> KeypointTrack:
    """The chosen person's track; size and rate are the driver's where the file has none.

    Raises MediaError for a file of another form, or one without a size when there is no driver.
    """
    width, height = _canvas(path, frames, driver)
    follower = PersonFollower(choice)
    points = np.zeros((len(frames), POINTS, 3))
    for index, frame in enumerate(frames):
        people = _people(path, index, frame, width, height)
        chosen = follower.choose(_boxes(people))
        if chosen is not None:
            points[index] = people[chosen]
    rate = None if driver is None else driver.rate
    return KeypointTrack(width, height, rate, checked_points(path, points))


def _canvas(path: Path, frames: Sequence[object], driver: FrameSource | None) -> tuple[int, int]:
    first = frames[0] if frames else None
    if isinstance(first, dict) and "canvas_width" in first:
        return checked_size(path, first["canvas_width"], first.get("canvas_height"))
    if driver is None:
        raise unusable(path, "no canvas_width", "the size of the picture")
    return driver.width, driver.height


def _people(
    path: Path, index: int, frame: object, width: int, height: int
) -> list[NDArray[np.float64]]:
    """[133, 3] of each person in a frame."""
    people = frame.get("people") if isinstance(frame, dict) else None
    if not isinstance(people, list) or not all(isinstance(one, dict) for one in people):
        raise unusable(path, f"frame {index} is of another form", "an object with 'people'")
    found = []
    for person in people:
        points = _whole_body(path, index, person)
        seen = points[..., 2] > 0
        if seen.any() and np.abs(points[seen, :2]).max() <= 1:
            points[..., :2] *= (width, height)
        found.append(points)
    return found


def _whole_body(path: Path, index: int, person: Mapping[str, object]) -> NDArray[np.float64]:
    points = np.zeros((POINTS, 3))

    def part(name: str) -> NDArray[np.float64]:
        return rows(path, f"frame {index}: {name}", person.get(f"{name}_keypoints_2d"), _ROW)

    body = part("pose")
    if len(body):
        if len(body) not in _BODIES:
            raise unusable(path, f"frame {index}: a body of {len(body)} points", "18 or 25")
        for row, target in zip(body, _BODIES[len(body)], strict=True):
            if target is not None:
                points[target] = row
    face = part("face")[:_FACE_POINTS]
    points[_FIRST_OF_FACE : _FIRST_OF_FACE + len(face)] = face
    for name, place in (("hand_left", LEFT_HAND), ("hand_right", RIGHT_HAND)):
        hand = part(name)
        if len(hand):
            if len(hand) != _HAND_POINTS:
                raise unusable(path, f"frame {index}: a hand of {len(hand)} points", "21")
            points[place] = hand
    points[..., 2] = np.minimum(points[..., 2], 1)
    return points


def _boxes(people: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """[n, 5] around each person's points."""
    boxes = np.zeros((len(people), 5))
    for box, points in zip(boxes, people, strict=True):
        seen = points[points[:, 2] > 0, :2]
        if len(seen):
            box[:] = *seen.min(axis=0), *seen.max(axis=0), 1
    return boxes
