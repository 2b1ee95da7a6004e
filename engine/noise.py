"""Initial noise drawn from a seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_SEED = 2**63 - 1


class SeededNoise:
    """One generator, seeded once and continued from segment to segment.

    The stream is numpy's Philox, the same on every machine; it is not torch's, so the same seed
    gives another (equally good) video than the official code. To reproduce one of its runs, hand
    in the noise itself.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._rewind()

    def _rewind(self) -> None:
        self._generator = np.random.Generator(np.random.Philox(self._seed))
        self._next = 0

    def segment(self, index: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Noise of segment `index`, float32 of `shape`; the same however often it is asked.

        All segments of a job have one shape, so going back, or skipping, replays the stream.
        """
        if index < self._next:
            self._rewind()
        while self._next < index:
            self._draw(shape)
        return self._draw(shape)

    def _draw(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        self._next += 1
        return self._generator.standard_normal(shape, np.float32)
