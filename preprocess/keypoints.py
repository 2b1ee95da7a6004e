"""Key-point tracks: where a person's 133 whole-body points are in every frame of a video.

A track is what a pose detector hands over, and the only thing the rest of this package knows of
one: a track may be read from a file or filled in by a detector, the drawing does not care.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

POINTS: Final = 133


@dataclass(frozen=True)
class KeypointTrack:
    """COCO-WholeBody points of one person in the frames of one video.

    `points` is float64 [frames, 133, 3]: x to the right and y down in pixels of a `width` x
    `height` picture (0 is the left or top edge), score in [0, 1]. Score 0 means missing or outside
    the picture; x and y then mean nothing. `rate` is in frames per second, None for a picture.
    """

    width: int
    height: int
    rate: Fraction | None
    points: NDArray[np.float64] = field(repr=False)

    def __post_init__(self) -> None:
        if self.points.ndim != 3 or self.points.shape[1:] != (POINTS, 3):
            raise ValueError(f"points must be [frames, 133, 3], not {self.points.shape}")

    @property
    def count(self) -> int:
        """Number of frames."""
        return int(self.points.shape[0])

    def select(self, indices: Sequence[int], rate: Fraction | None) -> KeypointTrack:
        """The track of a video made of these frames, played at `rate`."""
        chosen = self.points[np.asarray(indices, dtype=np.intp)]
        return KeypointTrack(self.width, self.height, rate, chosen)
