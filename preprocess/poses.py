"""133 whole-body points -> the 20 joints, two hands and the face that upstream works with."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from wan_trt.preprocess.keypoints import KeypointTrack

JOINTS = (
    *("nose", "neck", "right shoulder", "right elbow", "right wrist"),
    *("left shoulder", "left elbow", "left wrist", "right hip", "right knee", "right ankle"),
    *("left hip", "left knee", "left ankle", "right eye", "left eye", "right ear", "left ear"),
    *("left toe", "right toe"),
)
LEFT_HAND = slice(91, 112)
RIGHT_HAND = slice(112, 133)
# Upstream keeps 69 face points; the first is the last of the feet and is left out where used.
FACE = slice(22, 91)

# Whole-body index of each joint; neck (1) and toes (18, 19) are put together from two points.
_SOURCE = (0, 5, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3, 17, 20)
_NECK, _SHOULDERS = 1, (5, 6)
_TOES = {18: (17, 18), 19: (20, 21)}


@dataclass(frozen=True)
class PoseTrack:
    """Joints in every frame, as parts of the picture's size.

    All arrays are float64 [frames, n, 3] of (x / width, y / height, score): `body` with the 20
    `JOINTS`, `left_hand` and `right_hand` with 21 points (wrist, then four to a finger, thumb
    first), `face` with 69. Values may lie outside 0..1: the point is then outside the picture.
    """

    width: int
    height: int
    rate: Fraction | None
    body: NDArray[np.float64] = field(repr=False)
    left_hand: NDArray[np.float64] = field(repr=False)
    right_hand: NDArray[np.float64] = field(repr=False)
    face: NDArray[np.float64] = field(repr=False)

    @property
    def count(self) -> int:
        """Number of frames."""
        return int(self.body.shape[0])


def poses_of(track: KeypointTrack) -> PoseTrack:
    """The poses of a key-point track.

    As upstream: neck and toes are the mean of two points, scores included; a body all of whose
    joints have a negative coordinate is replaced by the body of the frame before.
    Where upstream knows no missing points (score 0) and would average a place that means nothing:
    a neck without both shoulders is missing, a toe with one point of two is that point.
    """
    points = track.points / np.array([track.width, track.height, 1.0])
    body = points[:, _SOURCE]
    body[:, _NECK] = _mean_of_two(points, *_SHOULDERS, needs_both=True)
    for joint, pair in _TOES.items():
        body[:, joint] = _mean_of_two(points, *pair, needs_both=False)
    outside = (body[:, :, :2].min(axis=2) < 0).all(axis=1)
    for frame in range(1, len(body)):
        if outside[frame]:
            body[frame] = body[frame - 1]
    return PoseTrack(
        track.width,
        track.height,
        track.rate,
        body,
        points[:, LEFT_HAND],
        points[:, RIGHT_HAND],
        points[:, FACE],
    )


def _mean_of_two(
    points: NDArray[np.float64], first: int, second: int, *, needs_both: bool
) -> NDArray[np.float64]:
    one, other = points[:, first], points[:, second]
    mean = (one + other) / 2
    one_missing, other_missing = one[:, 2:] == 0, other[:, 2:] == 0
    if needs_both:
        return np.where(one_missing | other_missing, 0.0, mean)
    return np.where(one_missing, other, np.where(other_missing, one, mean))
