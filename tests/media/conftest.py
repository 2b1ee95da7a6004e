"""Real media files for the tests, made with libav and Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.frame import VideoFrame
from numpy.typing import NDArray

TONE_HZ = 440


def add_tone(container: OutputContainer, codec: str, rate: int) -> AudioStream:
    stream = container.add_stream(codec, rate=rate)
    assert isinstance(stream, AudioStream)
    stream.codec_context.layout = "mono"
    return stream


def write_tone(container: OutputContainer, stream: AudioStream, seconds: float) -> None:
    rate = stream.sample_rate
    samples = np.sin(2 * np.pi * TONE_HZ * np.arange(int(seconds * rate)) / rate) * 0.5
    for start in range(0, len(samples), 1000):
        part = samples[None, start : start + 1000]
        frame = AudioFrame.from_ndarray((part * 32767).astype(np.int16), "s16", "mono")
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), start
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


class NumberedVideos:
    """Makes videos of pictures that carry their number, and reads the numbers again."""

    height, width = 48, 64

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def picture(self, number: int, height: int = height, width: int = width) -> NDArray[np.uint8]:
        """A picture with its number as 16 black or white columns over a changing shade."""
        frame = np.full((height, width, 3), 60 + number * 7 % 128, np.uint8)
        for bit in range(16):
            left, right = bit * width // 16, (bit + 1) * width // 16
            frame[: height // 2, left:right] = 255 if number >> bit & 1 else 0
        return frame

    def numbers(self, frames: NDArray[np.uint8]) -> list[int]:
        """The numbers in frames [n, h, w, 3], after any lossy coding."""
        height, width = frames.shape[1:3]
        columns = [(2 * bit + 1) * width // 32 for bit in range(16)]
        white = frames[:, height // 4, columns].mean(axis=2) > 128
        return [int(n) for n in white @ (1 << np.arange(16))]

    def make(
        self,
        name: str = "video.mp4",
        *,
        count: int = 30,
        rate: Fraction | int = 30,
        codec: str = "libx264",
        x264: str = "keyint=12:bframes=3",
        pixel_format: str = "yuv420p",
        timestamps_ms: Sequence[int] | None = None,
        rotation: float | None = None,
        faststart: bool = False,
        audio: str | None = None,
        audio_rate: int = 48000,
        audio_seconds: float = 1.0,
        size: tuple[int, int] = (height, width),
    ) -> Path:
        """Write one video; returns its path."""
        path = self.folder / name
        options = {"movflags": "+faststart"} if faststart else {}
        with av.open(str(path), "w", options=options) as container:
            settings = {"x264-params": x264, "crf": "10"} if codec == "libx264" else {}
            stream = container.add_stream(codec, rate=rate, options=settings)
            assert isinstance(stream, av.VideoStream)
            stream.height, stream.width = size
            stream.pix_fmt = pixel_format
            if timestamps_ms is not None:
                stream.codec_context.time_base = Fraction(1, 1000)
            if rotation is not None:
                stream.set_display_rotation(rotation)
            tone = add_tone(container, audio, audio_rate) if audio else None
            for number in range(count):
                frame = VideoFrame.from_ndarray(self.picture(number, *size), "rgb24")
                frame.pts = number
                if timestamps_ms is not None:
                    frame.pts, frame.time_base = timestamps_ms[number], Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
            if tone is not None:
                write_tone(container, tone, audio_seconds)
        return path


@pytest.fixture
def videos(tmp_path: Path) -> NumberedVideos:
    return NumberedVideos(tmp_path)
