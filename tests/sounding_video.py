"""A small driving video with sound, as clients send them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

RATE = 48000


def tone(seconds: float) -> NDArray[np.float32]:
    samples = np.empty(int(seconds * RATE), np.float32)
    samples[:] = np.sin(np.arange(len(samples)) * 0.05) / 2
    return samples


def write_sounding_video(
    path: Path, frames: int, size: tuple[int, int], codec: str, samples: NDArray[np.float32]
) -> Path:
    """`size`: height and width. `samples`, float32 [n] at 48 kHz, as `codec` takes them."""
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("libx264", rate=24, options={"crf": "20"})
        pictures.height, pictures.width = size
        pictures.pix_fmt = "yuv420p"
        sound = container.add_stream(codec, rate=RATE)
        assert isinstance(sound, av.AudioStream)
        sound.codec_context.layout = "mono"
        for number in range(frames):
            picture = np.full((*size, 3), number * 37 % 256, np.uint8)
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(pictures.encode(None))
        for start in range(0, len(samples), 1024):
            part = samples[None, start : start + 1024]
            frame = av.AudioFrame.from_ndarray(part, "fltp", "mono")
            frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), start
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path
