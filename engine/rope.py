"""Rotary position tables of the denoiser, from float64 angles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

THETA = 10000.0
POSITIONS = 1024  # of upstream's table: no axis may be longer


def rope_tables(
    frames: int, rows: int, columns: int, head_dim: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """cos and sin, each float32 [frames, rows, columns, head_dim / 2].

    The head's pairs are adjacent elements; the first ones turn with the frame number (0 is the
    reference), then those of the row, then those of the column: 22, 21, 21 pairs of a head of
    128. Every axis has its own frequencies theta^(-j / pairs).
    """
    pairs = head_dim // 2
    side = pairs // 3
    angles = np.empty((frames, rows, columns, pairs), np.float64)
    start = 0
    for axis, count in enumerate((pairs - 2 * side, side, side)):
        positions = np.arange((frames, rows, columns)[axis], dtype=np.float64)
        frequencies = THETA ** -(np.arange(count, dtype=np.float64) / count)
        shape = [1, 1, 1, count]
        shape[axis] = len(positions)
        angles[..., start : start + count] = np.outer(positions, frequencies).reshape(shape)
        start += count
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
