"""Replace mode's two videos: what is replaced (white), and the scene without it (black there)."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.frames import FrameSource
from wan_trt.media.frame_range import check_range
from wan_trt.preprocess.boxes import Box
from wan_trt.preprocess.frame_ranges import pieces
from wan_trt.preprocess.masks import (
    MaskShape,
    paint_background,
    paint_white,
    replaced_region,
)

# A matte's pixel is the person's when it is brighter than this.
_WHITE_FROM = 127


class MatteMasks:
    """A FrameSource of the regions to replace, from a person matte (white = person)."""

    def __init__(self, matte: FrameSource, shape: MaskShape) -> None:
        self._matte = matte
        self._shape = shape
        self.count, self.rate = matte.count, matte.rate
        self.height, self.width = matte.height, matte.width

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        check_range(start, stop, self.count)
        masks = np.empty((stop - start, self.height, self.width, 3), dtype=np.uint8)
        for index, mask in enumerate(masks, start):
            matte = self._matte.read(index, index + 1)[0]
            paint_white(mask, replaced_region(_ones_where_white(matte), self._shape))
        return masks

    def close(self) -> None:
        """Closes the matte."""
        self._matte.close()


class ApproximateMasks:
    """A FrameSource of the regions to replace, from boxes around the person.

    The boxes come from key points (`approximate_person_boxes`), not from a segmentation; None means
    there is nobody: the mask is black and nothing is replaced.
    """

    def __init__(
        self,
        boxes: Sequence[Box | None],
        height: int,
        width: int,
        shape: MaskShape,
        rate: Fraction | None,
    ) -> None:
        self._boxes = boxes
        self._shape = shape
        self.count, self.rate = len(boxes), rate
        self.height, self.width = height, width

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        check_range(start, stop, self.count)
        masks = np.zeros((stop - start, self.height, self.width, 3), dtype=np.uint8)
        for offset, box in enumerate(self._boxes[start:stop]):
            outline = np.zeros((self.height, self.width), dtype=np.uint8)
            if box is not None:
                box.cut(outline)[:] = 1
                paint_white(masks[offset], replaced_region(outline, self._shape))
        return masks

    def close(self) -> None:
        """Nothing is held open."""


class BackgroundFrames:
    """A FrameSource of the driver's frames, black where a mask is white.

    The mask has no other colours (`MatteMasks`, `ApproximateMasks`). Both must agree in size and
    count, else ValueError.
    """

    def __init__(self, driver: FrameSource, mask: FrameSource) -> None:
        ours = (driver.count, driver.height, driver.width)
        if ours != (mask.count, mask.height, mask.width):
            raise ValueError(f"mask {mask.count, mask.height, mask.width} for a driver {ours}")
        self._driver = driver
        self._mask = mask
        self.count, self.height, self.width = ours
        self.rate = driver.rate

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        check_range(start, stop, self.count)
        frames = np.empty((stop - start, self.height, self.width, 3), dtype=np.uint8)
        for first, last in pieces(start, stop):
            pairs = zip(self._driver.read(first, last), self._mask.read(first, last), strict=True)
            for offset, (frame, mask) in enumerate(pairs, first - start):
                paint_background(frames[offset], frame, mask)
        return frames

    def close(self) -> None:
        """Closes the driver and the mask."""
        self._driver.close()
        self._mask.close()


def _ones_where_white(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    channel = cv2.extractChannel(frame, 0)
    return np.asarray(cv2.threshold(channel, _WHITE_FROM, 1, cv2.THRESH_BINARY)[1], dtype=np.uint8)
