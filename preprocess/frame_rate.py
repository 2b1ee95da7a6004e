"""Another frame rate for a video: which of its frames to take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.errors import InputError
from wan_trt.engine.frames import FrameSource
from wan_trt.media.frame_range import check_range
from wan_trt.preprocess.frame_ranges import PIECE


def sample_indices(count: int, rate: float, target_rate: float) -> list[int]:
    """Indices that play `count` frames of `rate` at `target_rate` frames per second.

    int(count / rate * target_rate) indices, the nearest frame each, halves to even, never past the
    last frame. Floats, not fractions: the truncation is upstream's. Raises InputError unless both
    rates are above 0 and one frame is left.
    """
    if not (0 < rate < np.inf and 0 < target_rate < np.inf):
        raise InputError(
            f"from {rate} to {target_rate} frames per second",
            expected="rates above 0",
            action="keep the source's rate, or name another",
            field="fps",
        )
    target_count = int(count / rate * target_rate)
    if target_count < 1:
        raise InputError(
            f"{count} frames of {rate} fps are less than one frame at {target_rate} fps",
            expected="at least one frame",
            action="use a higher rate or a longer video",
            field="fps",
        )
    times = np.arange(target_count) / target_rate
    indices = np.clip(np.round(times * rate).astype(int), 0, count - 1)
    return [int(index) for index in indices]


class SampledFrames:
    """Chosen frames of another source: a FrameSource that holds no frames of its own."""

    def __init__(self, source: FrameSource, indices: Sequence[int], rate: Fraction | None) -> None:
        self._source = source
        self._indices = np.asarray(indices, dtype=np.intp)
        self.count = len(self._indices)
        self.height, self.width, self.rate = source.height, source.width, rate

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        check_range(start, stop, self.count)
        chosen = self._indices[start:stop]
        if 0 < len(chosen) <= PIECE and (np.diff(chosen) == 1).all():
            return self._source.read(int(chosen[0]), int(chosen[-1]) + 1)
        frames = np.empty((stop - start, self.height, self.width, 3), dtype=np.uint8)
        filled = 0
        for wanted in _close_together(chosen):
            lowest, highest = int(wanted.min()), int(wanted.max())
            piece = self._source.read(lowest, highest + 1)
            for offset, index in enumerate(wanted - lowest, filled):
                frames[offset] = piece[index]
            filled += len(wanted)
        return frames

    def close(self) -> None:
        """Closes the source."""
        self._source.close()


def _close_together(indices: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    """Cut into runs that each lie within PIECE frames of the source."""
    begin = 0
    for end in range(1, len(indices) + 1):
        run = indices[begin : end + 1]
        if end == len(indices) or run.max() - run.min() >= PIECE:
            yield indices[begin:end]
            begin = end
