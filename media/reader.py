"""Who opens media files: this process (`LocalMedia`), or one of its own (`isolation/`)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.frames import FrameSource
from wan_trt.media.limits import GENEROUS, MediaLimits
from wan_trt.media.noise import open_noise
from wan_trt.media.read_ahead import ReadAhead
from wan_trt.media.sound import SoundSource
from wan_trt.media.sound_reader import open_sound
from wan_trt.media.sources import open_frames, read_image


class NoiseReader(Protocol):
    """A NoiseSource over a file; see `media.noise.FileNoise`."""

    def segment(self, index: int, shape: tuple[int, ...]) -> NDArray[np.float32]: ...

    def close(self) -> None: ...


class MediaReader(Protocol):
    """Opens the media of one job. Whatever is unusable or above a limit is a MediaError that names
    `field`. Closing it closes all that it opened."""

    def frames(self, path: Path | str, field: str | None = None) -> FrameSource:
        """See `open_frames`; the frames may be decoded ahead."""
        ...

    def image(self, path: Path | str, field: str | None = None) -> NDArray[np.uint8]:
        """See `read_image`."""
        ...

    def noise(self, path: Path | str, field: str | None = "noise") -> NoiseReader:
        """See `open_noise`."""
        ...

    def sound(
        self, path: Path | str, duration: Fraction, field: str | None = None
    ) -> SoundSource | None:
        """See `open_sound`."""
        ...

    def close(self) -> None: ...


class LocalMedia:
    """A MediaReader in this process."""

    def __init__(self, limits: MediaLimits = GENEROUS, ahead: bool = True) -> None:
        """With `ahead`, frames are decoded while those before are worked on."""
        self._limits = limits
        self._ahead = ahead
        self._opened: list[FrameSource | NoiseReader | SoundSource] = []

    def frames(self, path: Path | str, field: str | None = None) -> FrameSource:
        source = open_frames(path, field=field, limits=self._limits)
        if self._ahead:
            source = ReadAhead(source)
        self._opened.append(source)
        return source

    def image(self, path: Path | str, field: str | None = None) -> NDArray[np.uint8]:
        return read_image(path, field=field, limits=self._limits)

    def noise(self, path: Path | str, field: str | None = "noise") -> NoiseReader:
        noise = open_noise(path, field=field, limits=self._limits)
        self._opened.append(noise)
        return noise

    def sound(
        self, path: Path | str, duration: Fraction, field: str | None = None
    ) -> SoundSource | None:
        sound = open_sound(path, duration, field=field, limits=self._limits)
        if sound is not None:
            self._opened.append(sound)
        return sound

    def close(self) -> None:
        """Close all files; idempotent."""
        while self._opened:
            self._opened.pop().close()


@dataclass(frozen=True)
class SoundFile:
    """A file whose sound an output is to have, and by whom it is opened (None: this process)."""

    path: Path
    field: str | None = None
    media: MediaReader | None = None

    def open(self, duration: Fraction) -> SoundSource | None:
        """See `open_sound`."""
        if self.media is None:
            return open_sound(self.path, duration, field=self.field)
        return self.media.sound(self.path, duration, self.field)
