"""A video fitted into another size, frame by frame."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.frames import FrameSource
from wan_trt.engine.letterbox import Letterbox
from wan_trt.engine.threads import available_threads
from wan_trt.media.frame_range import check_range


class FittedFrames:
    """A FrameSource that letterboxes another one into `height` x `width`.

    `interpolation` is OpenCV's; None means area averaging when the size shrinks, else bilinear.
    """

    def __init__(
        self, source: FrameSource, height: int, width: int, interpolation: int | None = None
    ) -> None:
        self._source = source
        self._letterbox = Letterbox(source.height, source.width, height, width)
        self._interpolation = (
            self._letterbox.interpolation_by_area if interpolation is None else interpolation
        )
        self.count, self.rate = source.count, source.rate
        self.height, self.width = height, width

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        check_range(start, stop, self.count)
        if self._letterbox.changes_nothing:
            return self._source.read(start, stop)
        frames = np.empty((stop - start, self.height, self.width, 3), dtype=np.uint8)
        # Area averaging takes longer than decoding, and OpenCV does it on one core a frame: some
        # frames are averaged while the next one is decoded.
        threads = available_threads()
        fitting: deque[Future[None]] = deque()
        with ThreadPoolExecutor(threads) as workers:
            for index, place in enumerate(frames, start):
                frame = self._source.read(index, index + 1)[0]
                fitting.append(
                    workers.submit(self._letterbox.apply_to, place, frame, self._interpolation)
                )
                if len(fitting) > threads:  # not all frames of a long range at a time
                    fitting.popleft().result()
            for fitted in fitting:
                fitted.result()
        return frames

    def close(self) -> None:
        """Closes the source."""
        self._source.close()
