"""How a picture is fitted into another size: scaled, centred, with black bars."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.errors import InputError


@dataclass(frozen=True)
class Letterbox:
    """How a picture lies inside a canvas of another size.

    The scaled size is truncated to whole pixels, which can leave a bar of a few pixels where the
    aspects agree. An odd number of bar pixels puts the extra one at the right or the bottom. All
    numbers are pixels. Raises InputError, naming `field`, where nothing of the picture is left.
    """

    source_height: int
    source_width: int
    height: int
    width: int
    field: str = "size"

    def __post_init__(self) -> None:
        sizes = (self.source_height, self.source_width, self.height, self.width)
        if min(sizes) < 1 or min(self.inner_size) < 1:
            raise InputError(
                f"a picture of {self.source_width}x{self.source_height} pixels",
                expected=f"one that still shows when fitted into {self.width}x{self.height}",
                action="crop it, or choose another size",
                field=self.field,
            )

    @property
    def inner_size(self) -> tuple[int, int]:
        """(height, width) of the scaled picture."""
        if self.source_height / self.source_width > self.height / self.width:
            return self.height, int(self.height / self.source_height * self.source_width)
        return int(self.width / self.source_width * self.source_height), self.width

    @property
    def offset(self) -> tuple[int, int]:
        """(top, left): where the scaled picture starts."""
        inner_height, inner_width = self.inner_size
        return (self.height - inner_height) // 2, (self.width - inner_width) // 2

    @property
    def changes_nothing(self) -> bool:
        return (self.source_height, self.source_width) == (self.height, self.width)

    def apply(
        self, frame: NDArray[np.uint8], interpolation: int = cv2.INTER_LINEAR
    ) -> NDArray[np.uint8]:
        """Fit a frame, uint8 [source_height, source_width, 3], into [height, width, 3]."""
        canvas = np.empty((self.height, self.width, 3), dtype=np.uint8)
        self.apply_to(canvas, frame, interpolation)
        return canvas

    def apply_to(
        self,
        canvas: NDArray[np.uint8],
        frame: NDArray[np.uint8],
        interpolation: int = cv2.INTER_LINEAR,
    ) -> None:
        """Fit a frame into `canvas`, uint8 [height, width, 3], whatever was in it before."""
        inner_height, inner_width = self.inner_size
        top, left = self.offset
        rows = canvas[top : top + inner_height]
        inside = rows[:, left : left + inner_width]
        cv2.resize(frame, (inner_width, inner_height), dst=inside, interpolation=interpolation)
        for bar in (
            canvas[:top],
            canvas[top + inner_height :],
            rows[:, :left],
            rows[:, left + inner_width :],
        ):
            bar[:] = 0

    def map_points(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points [.., 3] of (x, y, score) in the picture -> the same points in the canvas."""
        inner_height, inner_width = self.inner_size
        top, left = self.offset
        mapped = points.copy()
        mapped[..., 0] = points[..., 0] * (inner_width / self.source_width) + left
        mapped[..., 1] = points[..., 1] * (inner_height / self.source_height) + top
        return mapped

    def unmap_points(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """The reverse of `map_points`."""
        inner_height, inner_width = self.inner_size
        top, left = self.offset
        mapped = points.copy()
        mapped[..., 0] = (points[..., 0] - left) * (self.source_width / inner_width)
        mapped[..., 1] = (points[..., 1] - top) * (self.source_height / inner_height)
        return mapped

    @property
    def interpolation_by_area(self) -> int:
        """Area averaging when the canvas has fewer pixels than the picture, else bilinear.

        Upstream uses this for the preprocessed reference and the driver; the drawn pose, and the
        reference of a job, are always bilinear.
        """
        shrinks = self.height * self.width < self.source_height * self.source_width
        return cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
