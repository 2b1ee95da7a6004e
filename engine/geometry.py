"""Sizes of one model: everything the runtime must know about the network, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Geometry:
    """Read off the checkpoint at export and stored in the manifest."""

    dim: int
    heads: int
    layers: int
    face_layers: int
    text_dim: int
    text_tokens: int
    image_dim: int
    image_tokens: int
    image_size: int
    face_size: int
    motion_dim: int
    latent_channels: int = 16
    time_stride: int = 4
    space_stride: int = 8
    patch: int = 2

    @property
    def head_dim(self) -> int:
        return self.dim // self.heads

    @property
    def pixel_multiple(self) -> int:
        """Output height and width must be multiples of this."""
        return self.space_stride * self.patch
