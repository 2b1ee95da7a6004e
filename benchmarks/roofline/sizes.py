"""Sizes of the denoiser and of the videos that it is measured on."""

from __future__ import annotations

from dataclasses import dataclass

HEAD_DIM = 128


@dataclass(frozen=True)
class DitSizes:
    """A DiT as its denoiser graph has it. `image_keys` 0: no attention to an image;
    `face_interval` 0: no face blocks, else one after every so many blocks."""

    name: str
    dim: int
    heads: int
    ffn: int
    layers: int
    text_keys: int
    image_keys: int
    face_interval: int
    face_keys: int = 5
    latent_channels: int = 16
    frequency_dim: int = 256

    @property
    def face_layers(self) -> int:
        return -(-self.layers // self.face_interval) if self.face_interval else 0


@dataclass(frozen=True)
class VideoSize:
    """Pixels of a frame, and latents in time: 21 are 77 frames and a reference in Animate, 81
    frames in image-to-video."""

    width: int
    height: int
    latent_frames: int = 21

    @property
    def rows(self) -> int:
        return self.height // 16

    @property
    def columns(self) -> int:
        return self.width // 16

    @property
    def tokens(self) -> int:
        return self.latent_frames * self.rows * self.columns

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


ANIMATE_14B = DitSizes("Animate-14B", 5120, 40, 13824, 40, 512, 257, 5)
IMAGE_TO_VIDEO_14B = DitSizes("I2V-A14B", 5120, 40, 13824, 40, 512, 0, 0)
# Its head is as wide as the real ones, kernels are made for that; torch multiplies FP8 slowly on a
# CPU, so all else is as small as can be.
TINY = DitSizes("tiny", 128, 1, 160, 2, 16, 9, 1)

VIDEOS = (VideoSize(832, 480), VideoSize(1280, 720))
TINY_VIDEOS = (VideoSize(48, 32, 3), VideoSize(64, 48, 3))

# Enough tokens for every kernel to take more than one tile, few enough for float32.
ERROR_VIDEO = VideoSize(512, 384, 3)
