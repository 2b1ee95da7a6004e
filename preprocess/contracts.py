"""What the preprocessing asks of its networks: any model with these methods will do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.frames import FrameSource
from wan_trt.preprocess.detection.person_boxes import People


class PersonDetector(Protocol):
    """Finds people in pictures."""

    def people(self, frames: NDArray[np.uint8]) -> list[People]:
        """For each of the frames, uint8 [n, height, width, 3] in RGB: the people in it, float64
        [m, 5] of (left, top, right, bottom, score) in pixels, the surest first."""
        ...


class PoseEstimator(Protocol):
    """Finds the 133 key points of one person a picture."""

    def points(
        self, frames: NDArray[np.uint8], people: Sequence[NDArray[np.float64] | None]
    ) -> NDArray[np.float64]:
        """float64 [n, 133, 3] of (x, y, score) in pixels, for frames uint8 [n, height, width, 3] in
        RGB and one person each, as a detector gives them; None means somewhere in the picture."""
        ...


class OutlineTracker(Protocol):
    """Follows one person's outline through a video, from points that lie on it in some frames."""

    def outlines(
        self, frames: FrameSource, points: Mapping[int, NDArray[np.float64]]
    ) -> Iterator[NDArray[np.uint8]]:
        """One mask a frame, in order: uint8 [height, width] of 0 and 1.

        `points` are float64 [n, 2] of (x, y) in pixels, n >= 1, by the number of their frame. What
        is remembered from frame to frame has a bounded size.
        """
        ...
