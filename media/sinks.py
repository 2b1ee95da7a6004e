"""Opening what the command line calls OUT."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.errors import MediaError
from wan_trt.engine.frames import FrameSink
from wan_trt.media.image_files import IMAGE_SUFFIXES
from wan_trt.media.image_pattern import is_pattern
from wan_trt.media.image_writer import ImageWriter
from wan_trt.media.partial_output import FIELD
from wan_trt.media.pixels import to_pixels
from wan_trt.media.reader import SoundFile
from wan_trt.media.sources import TENSOR_SUFFIX
from wan_trt.media.tensor_writer import TensorWriter
from wan_trt.media.video_writer import VideoWriter

DEFAULT_RATE = Fraction(30)
"""Frames per second of an .mp4 whose driving frames have no clock: the Animate model's own."""


class PixelWriter(Protocol):
    """Receives 8-bit frames in order; the output appears under its name at close."""

    def write(self, pixels: NDArray[np.uint8], /) -> None:
        """Append frames, uint8 [n, height, width, 3] in RGB."""
        ...

    def close(self) -> None: ...

    def abort(self) -> None: ...


class PixelSink:
    """A FrameSink over a writer of 8-bit frames. Such files have no place for latents."""

    def __init__(self, writer: PixelWriter) -> None:
        self._writer = writer

    def write(self, frames: NDArray[np.float32]) -> None:
        self._writer.write(to_pixels(frames))

    def write_latents(self, segment: int, latents: NDArray[np.float32]) -> None:
        """Latents are dropped."""

    def close(self) -> None:
        self._writer.close()

    def abort(self) -> None:
        self._writer.abort()


class TensorSink:
    """A FrameSink over a safetensors file: float32 `frames` and `latents.K` of each segment."""

    def __init__(self, writer: TensorWriter) -> None:
        self._writer = writer

    def write(self, frames: NDArray[np.float32]) -> None:
        self._writer.write(frames)

    def write_latents(self, segment: int, latents: NDArray[np.float32]) -> None:
        self._writer.add(f"latents.{segment}", latents)

    def close(self) -> None:
        self._writer.close()

    def abort(self) -> None:
        self._writer.abort()


def open_sink(
    path: Path | str,
    *,
    height: int,
    width: int,
    frame_count: int,
    rate: Fraction | None = None,
    audio_from: SoundFile | None = None,
) -> FrameSink:
    """Open OUT for one job: `.mp4`, a `.png` pattern, or `.safetensors`, by its name.

    `rate` (None: DEFAULT_RATE) and the sound of `audio_from` (None, or a file without sound: no
    sound; pictures and tensors have none) matter to an .mp4 only. `close` wants exactly
    `frame_count` frames. Raises MediaError when the output cannot be written as asked,
    ResourceError when the disk is too full for it.
    """
    path = Path(path)
    if path.suffix.lower() == TENSOR_SUFFIX and not is_pattern(path):
        return TensorSink(
            TensorWriter(
                path, height=height, width=width, frame_count=frame_count, dtype=np.float32
            )
        )
    return PixelSink(
        open_pixel_writer(
            path,
            height=height,
            width=width,
            frame_count=frame_count,
            rate=rate,
            audio_from=audio_from,
        )
    )


def open_pixel_writer(
    path: Path | str,
    *,
    height: int,
    width: int,
    frame_count: int,
    rate: Fraction | None = None,
    audio_from: SoundFile | None = None,
) -> PixelWriter:
    """As `open_sink`, for 8-bit frames; `.safetensors` gets a uint8 tensor `frames`."""
    path = Path(path)
    if is_pattern(path):
        return ImageWriter(path, height=height, width=width, frame_count=frame_count)
    suffix = path.suffix.lower()
    if suffix == TENSOR_SUFFIX:
        return TensorWriter(
            path, height=height, width=width, frame_count=frame_count, dtype=np.uint8
        )
    if suffix == ".mp4":
        return VideoWriter(
            path,
            height=height,
            width=width,
            frame_count=frame_count,
            rate=rate or DEFAULT_RATE,
            audio_from=audio_from if audio_from and _may_sound(audio_from.path) else None,
        )
    raise MediaError(
        f"{path}: an output of type {suffix or 'none'}",
        expected=".mp4, .safetensors, or a pattern such as name.%04d.png",
        action="choose one of them",
        field=FIELD,
    )


def _may_sound(path: Path) -> bool:
    return not is_pattern(path) and path.suffix.lower() not in IMAGE_SUFFIXES | {TENSOR_SUFFIX}
