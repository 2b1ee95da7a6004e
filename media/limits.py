"""How much media may be before any of it is decoded: pure checks of what headers say."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path

from wan_trt.engine.errors import MediaLimitError

_CHANNELS = 3
_SMALL_NBYTES = 32 << 20
"""Decoded pictures up to this size are harmless, however well they were compressed."""


@dataclass(frozen=True)
class MediaLimits:
    """What one file may hold. The defaults leave room for ten minutes of 4K and for photographs of
    64 megapixels, far above what the Wan models make.

    `nbytes`: of the file. `picture_pixels`, `frame_pixels`: of a still picture, of one frame of a
    video. `frames`, `duration_s`: of a video or sequence; what has no clock has no duration.
    `picture_ratio`, `video_ratio`: bytes of all decoded 8-bit RGB pixels for each byte of the file.
    A still mask takes some 40 bytes a frame in H.264, so the latter is high; PNG's best is 1032.
    """

    nbytes: float = 8 << 30
    picture_pixels: float = 64_000_000
    frame_pixels: float = 4096 * 2304
    frames: float = 18_000
    duration_s: float = 1_200.0
    picture_ratio: float = 5_000.0
    video_ratio: float = 1_000_000.0

    def check_nbytes(self, path: Path, nbytes: int, field: str | None) -> None:
        """Raise MediaLimitError for a file that is too long."""
        self._check("nbytes", nbytes, f"{path}: {nbytes} bytes", field)

    def check_picture(
        self, path: Path, nbytes: int, height: int, width: int, field: str | None
    ) -> None:
        """Raise MediaLimitError for a picture whose header says too much. `nbytes`: of its file."""
        size = f"{path}: a picture of {width}x{height} pixels"
        self._check("picture_pixels", height * width, size, field)
        decoded = height * width * _CHANNELS
        if decoded > _SMALL_NBYTES:
            ratio = decoded / max(1, nbytes)
            self._check("picture_ratio", ratio, f"{size} in {nbytes} bytes", field)

    def check_frame(self, path: Path, height: int, width: int, field: str | None) -> None:
        """Raise MediaLimitError for frames that are too large."""
        frames = f"{path}: frames of {width}x{height} pixels"
        self._check("frame_pixels", height * width, frames, field)

    def check_count(self, path: Path, count: int, field: str | None) -> None:
        """Raise MediaLimitError for too many frames."""
        self._check("frames", count, f"{path}: {count} frames or more", field)

    def check_duration(self, path: Path, duration_s: float, field: str | None) -> None:
        """Raise MediaLimitError for a video that lasts too long, or not a number of seconds."""
        self._check("duration_s", duration_s, f"{path}: lasts {duration_s:g} s", field)

    def check_video(
        self, path: Path, nbytes: int, count: int, height: int, width: int, field: str | None
    ) -> None:
        """Raise MediaLimitError for a file of `nbytes` that claims to hold too many pixels."""
        self.check_count(path, count, field)
        self.check_frame(path, height, width, field)
        decoded = count * height * width * _CHANNELS
        if decoded > _SMALL_NBYTES:
            given = f"{path}: {count} frames of {width}x{height} pixels in {nbytes} bytes"
            self._check("video_ratio", decoded / max(1, nbytes), given, field)

    def _check(self, limit: str, value: float, given: str, field: str | None) -> None:
        most: float = getattr(self, limit)
        if not value <= most:  # NaN is not
            raise MediaLimitError(
                given,
                expected=f"at most {most:g} ({limit})",
                action="cut or scale it, or have the limit raised",
                field=field,
            )


GENEROUS = MediaLimits(*(math.inf for _ in fields(MediaLimits)))
"""No limit but those of the readers themselves: for files of whoever runs the program."""
