"""Replace mode without a matte: roughly where the person is, from the key points alone.

This is an approximation. Upstream segments the person (SAM2, prompted with these key points), and
whoever has such a matte should hand it over instead. With upstream's default mask shape, one cell,
the two agree in kind: both replace a rectangle around the person.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wan_trt.preprocess.boxes import Box, clipped_box
from wan_trt.preprocess.gaps import stand_ins
from wan_trt.preprocess.poses import PoseTrack
from wan_trt.preprocess.skeleton import SCORE_THRESHOLD

_LEFT_SHOULDER, _RIGHT_SHOULDER = 5, 2
_ANKLES = (10, 13)

# Joints lie inside the body: clothes and flesh around them, in parts of the shoulders' distance.
_MARGIN = 0.3
# The face points end at the brows: hair or a hat above them, in heights of the face.
_HAIR = 1.3


def approximate_person_boxes(poses: PoseTrack) -> tuple[Box | None, ...]:
    """A generous box around the person in every frame, in pixels of the track's picture.

    It holds all points that are drawn and those of the face, with a margin. A person whose ankles
    are not seen is taken to go on to the lower border. A frame without a person takes the box of
    the last frame before it that has one, or of the first one after; None in all frames when there
    is no person in any.
    """
    candidates = [_box(poses, frame) for frame in range(poses.count)]
    indices = stand_ins([not box.empty for box in candidates])
    if indices is None:
        return (None,) * len(candidates)
    return tuple(candidates[index] for index in indices)


def _box(poses: PoseTrack, frame: int) -> Box:
    size = np.array([poses.width, poses.height, 1.0])
    body, face = poses.body[frame] * size, poses.face[frame, 1:] * size
    parts = [body, poses.left_hand[frame] * size, poses.right_hand[frame] * size]
    seen = [part[part[:, 2] >= SCORE_THRESHOLD] for part in parts]
    face = face[face[:, 2] > 0]
    points = np.concatenate([*seen, face])
    if len(points) < 2:
        return Box(0, 0, 0, 0)
    left, top = points[:, :2].min(axis=0)
    right, bottom = points[:, :2].max(axis=0)
    face_height = float(np.ptp(face[:, 1])) if len(face) else 0.0
    margin = _MARGIN * max(_shoulder_distance(body), face_height)
    top -= max(margin, _HAIR * face_height)
    ankles_seen = (body[_ANKLES, 2] >= SCORE_THRESHOLD).any()
    bottom = bottom + margin if ankles_seen else poses.height
    return clipped_box(left - margin, right + margin, top, bottom, poses.height, poses.width)


def _shoulder_distance(body: NDArray[np.float64]) -> float:
    left, right = body[_LEFT_SHOULDER], body[_RIGHT_SHOULDER]
    if min(left[2], right[2]) < SCORE_THRESHOLD:
        return 0.0
    return float(np.hypot(*(left - right)[:2]))
