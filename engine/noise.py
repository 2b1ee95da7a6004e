"""Initial noise drawn from a seed."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.cuda.philox import H100, GpuThreads, normal

MAX_SEED = 2**63 - 1


class SeededNoise:
    """One generator, seeded once and continued from segment to segment, as the official code's.

    A seed means what it means there on a GPU with these `threads`, on every machine that runs
    this: see `wan_trt.engine.cuda.philox`, also for the tolerance.
    """

    def __init__(self, seed: int, threads: GpuThreads = H100) -> None:
        self._seed = seed
        self._threads = threads

    def segment(self, index: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Noise of segment `index`, float32 of `shape`, in any order.

        All segments of a job have one shape, which says where in the stream each begins.
        """
        before = index * self._threads.blocks_of(math.prod(shape))
        return normal(self._seed, before, shape, self._threads)
