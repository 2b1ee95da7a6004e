"""Sizes of one model: everything the runtime must know about the network, and nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass

SPACE_STRIDE = 8
PATCH = 2


@dataclass(frozen=True)
class ImageGeometry:
    """The image branch: `tokens` features of width `dim`, from a picture of `size` pixels."""

    dim: int
    tokens: int
    size: int


@dataclass(frozen=True)
class FaceGeometry:
    """The face branch: crops of `size` pixels, motion vectors of `motion_dim`, face blocks."""

    layers: int
    size: int
    motion_dim: int


@dataclass(frozen=True)
class Geometry:
    """Read off the checkpoint at export and stored in the manifest.

    A model without a branch has None for it: Animate has both, image-to-video neither.
    """

    dim: int
    heads: int
    layers: int
    text_dim: int
    text_tokens: int
    image: ImageGeometry | None = None
    face: FaceGeometry | None = None
    latent_channels: int = 16
    time_stride: int = 4
    space_stride: int = SPACE_STRIDE
    patch: int = PATCH

    @property
    def head_dim(self) -> int:
        return self.dim // self.heads

    @property
    def pixel_multiple(self) -> int:
        """Output height and width must be multiples of this."""
        return self.space_stride * self.patch


def video_size(height: int, width: int, area: int) -> tuple[int, int]:
    """Height and width of the video for a picture of `height` x `width`: about `area` pixels in
    its aspect, both sides cut down to multiples of 16 (upstream's rule for image-to-video).

    A side is 0 where the picture is too narrow for the area.
    """
    aspect = height / width

    def side(pixels: float) -> int:
        return round(math.sqrt(pixels) // SPACE_STRIDE // PATCH * PATCH) * SPACE_STRIDE

    return side(area * aspect), side(area / aspect)
