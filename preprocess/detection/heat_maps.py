"""From a pose network's heat maps to places: decoding that is exact to parts of a cell (DARK)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from wan_trt.preprocess.detection.pose_crop import PoseCrop

# Fits maps that were drawn with a deviation of two cells for training.
_KERNEL = 11
_BORDER = _KERNEL // 2
_LEAST = 1e-10


def decode_heat_maps(maps: NDArray[np.float32], crop: PoseCrop) -> NDArray[np.float64]:
    """float32 [points, rows, columns] of one crop -> [points, 3] of (x, y, score) in the picture.

    The hottest cell, refined by one Newton step on the logarithm of the blurred map (Zhang et al.,
    "Distribution-Aware Coordinate Representation for Human Pose Estimation", CVPR 2020), not
    within two cells of the border. The score is the hottest cell's heat. A map without heat puts
    its point one cell outside the crop, score 0 or less (upstream).
    """
    count, rows, columns = maps.shape
    flat = maps.reshape(count, -1)
    scores, hottest = flat.max(axis=1), flat.argmax(axis=1)
    places = np.stack([hottest % columns, hottest // columns], axis=1).astype(np.float32)
    places[scores <= 0] = -1
    for point in np.flatnonzero(scores > 0):
        x, y = (int(part) for part in places[point])
        if 1 < x < columns - 2 and 1 < y < rows - 2:
            around = _modulated(maps[point], float(scores[point]))[y - 2 : y + 3, x - 2 : x + 3]
            places[point] += _newton_step(np.log(np.maximum(around, _LEAST)))
    scale = np.array([crop.width / columns, crop.height / rows])
    corner = np.array(crop.centre) - np.array([crop.width, crop.height]) / 2
    decoded = np.empty((count, 3))
    decoded[:, :2] = places * scale + corner
    decoded[:, 2] = scores
    return decoded


def _modulated(heat: NDArray[np.float32], highest: float) -> NDArray[np.float32]:
    """Blurred, then as high as before."""
    bordered = np.pad(heat, _BORDER)
    blurred = np.asarray(cv2.GaussianBlur(bordered, (_KERNEL, _KERNEL), 0), dtype=np.float32)
    inner = blurred[_BORDER:-_BORDER, _BORDER:-_BORDER]
    return np.asarray(inner * np.float32(highest / inner.max()))


def _newton_step(around: NDArray[np.float32]) -> NDArray[np.float32]:
    """From the middle of [5, 5] towards the top, (x, y) in cells."""
    middle = around[2, 2]
    dx, dy = 0.5 * (around[2, 3] - around[2, 1]), 0.5 * (around[3, 2] - around[1, 2])
    dxx = 0.25 * (around[2, 4] - 2 * middle + around[2, 0])
    dyy = 0.25 * (around[4, 2] - 2 * middle + around[0, 2])
    dxy = 0.25 * (around[3, 3] - around[1, 3] - around[3, 1] + around[1, 1])
    determinant = dxx * dyy - dxy**2
    if determinant == 0:
        return np.zeros(2, dtype=np.float32)
    step = np.array([dyy * dx - dxy * dy, dxx * dy - dxy * dx])
    return np.asarray(-step / determinant, dtype=np.float32)
