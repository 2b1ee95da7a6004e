"""Sizes of an Animate DiT: the trunk, and the branches for the image and for faces."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wan_trt.engine.errors import CheckpointError
from wan_trt.export.modeling.dit import DitSizes, check_config, count_numbers
from wan_trt.export.tensors import TensorSource


@dataclass(frozen=True)
class ImageSizes:
    """What the image encoder hands over: `tokens` features (257 for a ViT-H/14 at 224)."""

    dim: int
    tokens: int


@dataclass(frozen=True)
class FaceSizes:
    """`motion_channels` are the channels after conv 0 and after each down block of the motion
    encoder, whose input is `size` pixels square. `interval` is the number of blocks from one face
    block to the next."""

    size: int
    motion_channels: tuple[int, ...]
    motion_dim: int
    motion_code: int
    hidden: int
    groups: int
    layers: int
    interval: int


@dataclass(frozen=True)
class AnimateSizes:
    dit: DitSizes
    image: ImageSizes
    face: FaceSizes

    @staticmethod
    def read(source: TensorSource, config: Mapping[str, Any], image_tokens: int) -> AnimateSizes:
        """Raises CheckpointError where tensors are absent or config.json contradicts them."""
        head_dim = source.shape("face_adapter.fuser_blocks.0.q_norm.weight")[0]
        dit = DitSizes.read(source, config, head_dim)
        face = _read_face(source, dit)
        check_config(config, {"motion_encoder_dim": face.motion_dim, "use_img_emb": True})
        image = ImageSizes(source.shape("img_emb.proj.1.weight")[1], image_tokens)
        return AnimateSizes(dit, image, face)


def _read_face(source: TensorSource, dit: DitSizes) -> FaceSizes:
    names = set(source.names())
    stem = "motion_encoder.enc.net_app.convs"
    downs = count_numbers(names, rf"{re.escape(stem)}\.(\d+)\.conv1\.0\.weight")
    layers = count_numbers(names, r"face_adapter\.fuser_blocks\.(\d+)\.linear1_q\.weight")
    if layers == 0 or dit.layers % layers:
        raise CheckpointError(
            f"{dit.layers} blocks and {layers} face blocks",
            expected="a whole number of blocks for each face block",
        )
    motion_dim, motion_code = source.shape("motion_encoder.dec.direction.weight")
    hidden = source.shape("face_encoder.conv2.conv.weight")[0]
    return FaceSizes(
        size=source.shape(f"{stem}.{downs + 1}.weight")[2] << downs,
        motion_channels=(
            source.shape(f"{stem}.0.0.weight")[0],
            *(source.shape(f"{stem}.{i}.conv2.1.weight")[0] for i in range(1, downs + 1)),
        ),
        motion_dim=motion_dim,
        motion_code=motion_code,
        hidden=hidden,
        groups=source.shape("face_encoder.conv1_local.conv.weight")[0] // hidden,
        layers=layers,
        interval=dit.layers // layers,
    )
