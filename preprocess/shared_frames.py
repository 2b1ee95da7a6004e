"""One decoded piece of a video for all who look at it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.frames import FrameSource


class SharedFrames:
    """A FrameSource that keeps the last range it read, for the next one who wants just that.

    Poses, faces, backgrounds and previews of the same frames then cost one decoding. What it gives
    must not be changed.
    """

    def __init__(self, source: FrameSource) -> None:
        self._source = source
        self.count, self.rate = source.count, source.rate
        self.height, self.width = source.height, source.width
        self._range: tuple[int, int] | None = None
        self._frames: NDArray[np.uint8] | None = None

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        if self._frames is None or self._range != (start, stop):
            self._frames = None  # not two ranges at a time
            self._frames = self._source.read(start, stop)
            self._range = start, stop
        frames = self._frames.view()
        frames.flags.writeable = False
        return frames

    def close(self) -> None:
        """Closes the source."""
        self._frames = None
        self._source.close()
