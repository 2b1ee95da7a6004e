"""How far two arrays are from each other (pure numpy, computed in float64).

Frames are float32 [T, H, W, 3] in [-1, 1]; `reference` stands first everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

PEAK = 2.0
"""From black to white, for frames in [-1, 1]."""

IDENTICAL_DB = 200.0
"""The PSNR of frames that do not differ, or differ by less than float32 can tell."""

LEVELS = 255
WINDOW, WINDOW_SIGMA = 11, 1.5
_STABILISERS = (0.01, 0.03)


def cosine(reference: NDArray[Any], candidate: NDArray[Any]) -> float:
    """Of the angle between two arrays as vectors: 1 where one is a positive multiple of the other.
    Two zeros agree; a zero and anything else have 0."""
    first, second = _vector(reference), _vector(candidate)
    lengths = float(np.linalg.norm(first)), float(np.linalg.norm(second))
    if not all(lengths):
        return float(lengths[0] == lengths[1])
    return float(np.clip(np.dot(first / lengths[0], second / lengths[1]), -1.0, 1.0))


def relative_error(reference: NDArray[Any], candidate: NDArray[Any]) -> float:
    """||candidate - reference|| / ||reference||; 0 for two zeros, infinite for one."""
    first, second = _vector(reference), _vector(candidate)
    error, length = float(np.linalg.norm(second - first)), float(np.linalg.norm(first))
    if length == 0:
        return 0.0 if error == 0 else float("inf")
    return error / length


def share_of_way(reference: NDArray[Any], other: NDArray[Any], candidate: NDArray[Any]) -> float:
    """How far the candidate is on the straight way from the reference, 0, to `other`, 1; what is
    aside of the way does not count. 0 where the two are the same."""
    start = _vector(reference)
    way = _vector(other) - start
    length = float(np.dot(way, way))
    return float(np.dot(_vector(candidate) - start, way)) / length if length else 0.0


def psnr(reference: NDArray[Any], candidate: NDArray[Any]) -> float:
    """Peak signal to noise in dB over all frames together, at most IDENTICAL_DB."""
    difference = _vector(candidate) - _vector(reference)
    error = float(np.mean(difference**2))
    if error == 0:
        return IDENTICAL_DB
    return min(IDENTICAL_DB, float(10 * np.log10(PEAK**2 / error)))


def ssim(reference: NDArray[Any], candidate: NDArray[Any]) -> float:
    """Structural similarity, the mean over frames, colours and positions (Wang et al. 2004).

    Means, variances and covariances are taken in a Gaussian window of 11 x 11 pixels with a sigma
    of 1.5, only where it lies inside the frame, without Bessel's correction; K1 is 0.01, K2 0.03.
    Raises ValueError for frames smaller than the window.
    """
    if min(reference.shape[1:3]) < WINDOW:
        raise ValueError(f"frames of {reference.shape[1:3]} are smaller than {WINDOW} pixels")
    pairs = zip(reference, candidate, strict=True)
    return float(np.mean([_frame_ssim(first, second) for first, second in pairs]))


def colour_drift(reference: NDArray[Any], candidate: NDArray[Any]) -> tuple[float, float, float]:
    """Mean of red, green and blue of the candidate minus that of the reference, in 1/255."""
    axes = (0, 1, 2)
    first: NDArray[np.float64] = np.mean(reference, axis=axes, dtype=np.float64)
    second: NDArray[np.float64] = np.mean(candidate, axis=axes, dtype=np.float64)
    drift = (second - first) * LEVELS / PEAK
    return float(drift[0]), float(drift[1]), float(drift[2])


def temporal_ratio(reference: NDArray[Any], candidate: NDArray[Any]) -> float:
    """How much the candidate moves for what the reference does: the ratio of the means of
    |frame[t+1] - frame[t]|. Below 1 it is stiller, above 1 it flickers. Two stills have 1; a
    candidate that moves where the reference does not is infinite."""
    first, second = _motion(reference), _motion(candidate)
    if first == 0:
        return 1.0 if second == 0 else float("inf")
    return second / first


def _vector(array: NDArray[Any]) -> NDArray[np.float64]:
    return array.astype(np.float64).ravel()


def _motion(frames: NDArray[Any]) -> float:
    steps = [
        float(np.mean(np.abs(after.astype(np.float64) - before)))
        for before, after in pairwise(frames)
    ]
    return float(np.mean(steps)) if steps else 0.0


def _frame_ssim(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Of two frames [H, W, 3]."""
    x, y = first.astype(np.float64), second.astype(np.float64)
    mean_x, mean_y, square_x, square_y, product = (
        _windowed(values) for values in (x, y, x * x, y * y, x * y)
    )
    c1, c2 = ((factor * PEAK) ** 2 for factor in _STABILISERS)
    variance_x, variance_y = square_x - mean_x**2, square_y - mean_y**2
    covariance = product - mean_x * mean_y
    above = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    below = (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    return float(np.mean(above / below))


def _windowed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted means over the window, [H - 10, W - 10, 3]."""
    rows = sum(weight * row for weight, row in zip(_weights(), _shifted(values), strict=True))
    turned = np.asarray(rows).transpose(1, 0, 2)
    columns = sum(weight * row for weight, row in zip(_weights(), _shifted(turned), strict=True))
    return np.asarray(columns).transpose(1, 0, 2)


def _shifted(values: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    stop = values.shape[0] - WINDOW + 1
    return (values[offset : stop + offset] for offset in range(WINDOW))


def _weights() -> NDArray[np.float64]:
    offsets = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-(offsets**2) / (2 * WINDOW_SIGMA**2))
    return np.asarray(weights / weights.sum())
