"""Sizes of a checkpoint that is to be made up; the defaults are those of Wan2.2-Animate-14B."""

from __future__ import annotations

from dataclasses import dataclass

T5_HEAD_DIM = 64


@dataclass(frozen=True)
class CheckpointSizes:
    """Everything that gives a tensor of the official repository its shape.

    `motion_channels` are the channels after conv 0 and after each down block of the motion
    encoder: a face of `4 << len(down blocks)` pixels square leaves 4x4 for its last convolution.
    `image_width` is a multiple of 80 and `heads` divides `dim`: upstream derives heads from them.
    """

    dim: int = 5120
    heads: int = 40
    ffn: int = 13824
    layers: int = 40
    frequency_dim: int = 256
    text_tokens: int = 512
    latent_channels: int = 16
    condition_channels: int = 20
    motion_channels: tuple[int, ...] = (32, 64, 128, 256, 512, 512, 512, 512)
    motion_dim: int = 512
    motion_code: int = 20
    face_hidden: int = 1024
    face_groups: int = 4
    face_interval: int = 5

    vae_dim: int = 96

    image_width: int = 1280
    image_layers: int = 32
    image_size: int = 224
    image_patch: int = 14
    image_projection: int = 1024

    text_dim: int = 4096
    text_layers: int = 24
    text_heads: int = 64
    text_ffn: int = 10240
    text_vocabulary: int = 256384
    text_buckets: int = 32

    @property
    def head_dim(self) -> int:
        return self.dim // self.heads

    @property
    def face_layers(self) -> int:
        """Face blocks stand after blocks 0, face_interval, 2 * face_interval, ..."""
        return -(-self.layers // self.face_interval)

    @property
    def face_size(self) -> int:
        return 4 << (len(self.motion_channels) - 1)

    @property
    def image_tokens(self) -> int:
        return (self.image_size // self.image_patch) ** 2 + 1


ANIMATE_14B = CheckpointSizes()

# For tests: exports in seconds.
TINY = CheckpointSizes(
    dim=64,
    heads=2,
    ffn=96,
    layers=4,
    frequency_dim=32,
    text_tokens=32,
    motion_channels=(8, 8, 16),
    motion_dim=16,
    motion_code=6,
    face_hidden=16,
    face_interval=2,
    vae_dim=4,
    image_width=80,
    image_layers=2,
    image_size=56,
    image_projection=16,
    text_dim=32,
    text_layers=2,
    text_heads=2,
    text_ffn=48,
    text_vocabulary=320,
)

# For the demonstration: seconds a job on two cores, and wide enough for `structured_dit`.
DEMO = CheckpointSizes(
    dim=256,
    heads=2,
    ffn=512,
    layers=6,
    motion_channels=(8, 16, 16, 32, 32, 32),
    motion_dim=64,
    face_hidden=64,
    face_interval=3,
    vae_dim=8,
    image_width=160,
    image_layers=3,
    image_projection=48,
    text_dim=64,
    text_layers=2,
    text_heads=2,
    text_ffn=160,
    text_vocabulary=320,
)
