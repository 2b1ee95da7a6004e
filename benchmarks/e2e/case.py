"""What is compared: the sizes of a made-up model and of one job, and the pictures that go in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

HEAD_DIM = 128
SHIFT = 5.0


@dataclass(frozen=True)
class Case:
    """The defaults keep the proportions of Wan2.2-Animate-14B at 832x480 and 77 frames, scaled
    down until both sides together take minutes on two cores; see docs/benchmarks.md.

    `image_pixels` is the side of CLIP's input, `face_pixels` that of the motion encoder's.
    """

    dim: int = 1024
    layers: int = 10
    vae_dim: int = 8
    face_pixels: int = 64
    image_pixels: int = 56
    height: int = 128
    width: int = 224
    frames: int = 77
    steps: int = 20
    prompt: str | None = None

    @property
    def heads(self) -> int:
        return self.dim // HEAD_DIM

    @property
    def ffn(self) -> int:
        """2.7 times `dim`, as in the real model, in multiples of 16."""
        return round(self.dim * 2.7 / 16) * 16

    @property
    def motion_channels(self) -> tuple[int, ...]:
        """Channels of the motion encoder, halving the picture down to 4x4."""
        downs = self.face_pixels.bit_length() - 3
        return tuple(min(8 << i, 32) for i in range(downs + 1))

    @property
    def latent_shape(self) -> tuple[int, int, int, int]:
        """[16, F, h, w] with the reference latent first."""
        return 16, (self.frames - 1) // 4 + 2, self.height // 8, self.width // 8

    @property
    def tokens(self) -> int:
        _, frames, height, width = self.latent_shape
        return frames * height * width // 4


@dataclass(frozen=True)
class Inputs:
    """Pictures uint8 RGB: `reference` [h, w, 3], `pose` [n, h, w, 3], `face` [n, s, s, 3]; `noise`
    float32 [16, F, h/8, w/8].

    All pixels are 0 or 255: upstream's rounding of pixels to bfloat16, which is part of the bundle
    and not of diffusers, leaves them alone. They are at their final size, so that neither side
    resizes.
    """

    reference: NDArray[np.uint8]
    pose: NDArray[np.uint8]
    face: NDArray[np.uint8]
    noise: NDArray[np.float32]

    def save(self, path: Path) -> None:
        save_file(vars(self), path)

    @staticmethod
    def load(path: Path) -> Inputs:
        return Inputs(**load_file(path))


def make_inputs(case: Case, seed: int = 0) -> Inputs:
    """Patterns of blocks that change from frame to frame, and noise."""
    random = np.random.default_rng(seed)

    def blocks(count: int, height: int, width: int) -> NDArray[np.uint8]:
        coarse = random.integers(0, 2, (count, height // 16 + 1, width // 16 + 1, 3), np.uint8)
        fine = coarse.repeat(16, axis=1).repeat(16, axis=2)[:, :height, :width]
        return np.ascontiguousarray(fine * np.uint8(255))

    return Inputs(
        reference=blocks(1, case.height, case.width)[0],
        pose=blocks(case.frames, case.height, case.width),
        face=blocks(case.frames, case.face_pixels, case.face_pixels),
        noise=random.standard_normal(case.latent_shape, np.float32),
    )
