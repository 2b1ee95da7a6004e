"""Pictures as a FrameSource: an image sequence, or one picture as a video of one frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.errors import MediaError
from wan_trt.media.frame_range import check_range
from wan_trt.media.image_files import picture_size, read_picture
from wan_trt.media.image_pattern import ImagePattern
from wan_trt.media.limits import GENEROUS, MediaLimits


class ImageFrames:
    """Pictures of one size, decoded when they are read. Pictures have no clock: rate is None."""

    rate = None

    def __init__(
        self, paths: Sequence[Path], field: str | None = None, limits: MediaLimits = GENEROUS
    ) -> None:
        """Raises MediaError when a picture is missing, unreadable or of another size."""
        limits.check_count(paths[0], len(paths), field)
        self._paths = list(paths)
        self._field = field
        self._limits = limits
        self.count = len(self._paths)
        self.height, self.width = picture_size(self._paths[0], field, limits)
        for path in self._paths[1:]:
            self._require_same_size(path, *picture_size(path, field, limits))

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Frames start..stop-1 as uint8 [stop - start, height, width, 3]."""
        check_range(start, stop, self.count)
        frames = np.empty((stop - start, self.height, self.width, 3), np.uint8)
        for frame, path in zip(frames, self._paths[start:stop], strict=True):
            picture = read_picture(path, self._field, self._limits)
            self._require_same_size(path, *picture.shape[:2])
            frame[:] = picture
        return frames

    def close(self) -> None:
        """Nothing is held open."""

    def _require_same_size(self, path: Path, height: int, width: int) -> None:
        if (height, width) != (self.height, self.width):
            raise MediaError(
                f"{path}: {width}x{height} pixels",
                expected=f"{self.width}x{self.height} as in {self._paths[0].name}",
                action="scale the pictures of a sequence to one size",
                field=self._field,
            )


def open_sequence(
    path: Path, field: str | None = None, limits: MediaLimits = GENEROUS
) -> ImageFrames:
    """All pictures of a pattern from the lowest index on.

    Raises MediaError when there is none, or names the first one that is missing in between.
    """
    pattern = ImagePattern(path, field)
    indices = pattern.indices()
    if not indices:
        raise MediaError(
            f"{path}: no file fits the pattern",
            expected=f"files such as {pattern.file(0).name}",
            action="check the path and the number of digits",
            field=field,
        )
    for expected, index in enumerate(indices, start=indices[0]):
        if index != expected:
            raise MediaError(
                f"{pattern.file(expected)}: missing in the image sequence",
                expected=f"every index from {indices[0]} to {indices[-1]}",
                action="add the picture or renumber the sequence",
                field=field,
            )
    return ImageFrames([pattern.file(index) for index in indices], field, limits)
