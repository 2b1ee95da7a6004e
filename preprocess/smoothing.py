"""Less jitter: key points and face boxes averaged over time. Upstream does nothing of the kind."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from wan_trt.preprocess.boxes import Box
from wan_trt.preprocess.face_crop import FaceBoxes
from wan_trt.preprocess.keypoints import KeypointTrack

_REACH = 3.0
"""Deviations on either side beyond which a frame has no say."""


def smoothed_track(track: KeypointTrack, deviation_frames: float) -> KeypointTrack:
    """Every point's place, averaged by a Gaussian over the frames around, weighted by scores.

    Scores stay as they are, and missing points stay missing.
    """
    scores = track.points[..., 2]
    places = _averaged(track.points[..., :2], scores, deviation_frames)
    points = np.concatenate([places, scores[..., None]], axis=2)
    missing = scores == 0
    points[missing] = track.points[missing]
    return KeypointTrack(track.width, track.height, track.rate, points)


def smoothed_boxes(faces: FaceBoxes, deviation_frames: float) -> FaceBoxes:
    """Every edge averaged likewise, and rounded."""
    edges = np.array(faces.boxes, dtype=np.float64)
    averaged = _averaged(edges[:, :, None], np.ones(edges.shape), deviation_frames)
    boxes = tuple(Box(*(int(edge) for edge in box)) for box in np.round(averaged[..., 0]))
    return FaceBoxes(boxes, faces.missing)


def _averaged(
    values: NDArray[np.float64], weights: NDArray[np.float64], deviation_frames: float
) -> NDArray[np.float64]:
    """Over the first axis of `values` [frames, n, k], weighted by `weights` [frames, n]."""
    total = np.zeros_like(values)
    weight = np.zeros_like(weights)
    for shift, share in _kernel(deviation_frames, len(values)):
        from_frames = slice(max(shift, 0), len(values) + min(shift, 0))
        to_frames = slice(max(-shift, 0), len(values) + min(-shift, 0))
        part = share * weights[from_frames]
        weight[to_frames] += part
        total[to_frames] += part[..., None] * values[from_frames]
    return np.divide(total, weight[..., None], out=values.copy(), where=weight[..., None] > 0)


def _kernel(deviation_frames: float, count: int) -> Iterator[tuple[int, float]]:
    reach = min(math.ceil(_REACH * deviation_frames), count - 1)
    for shift in range(-reach, reach + 1):
        yield shift, math.exp(-0.5 * (shift / deviation_frames) ** 2)
