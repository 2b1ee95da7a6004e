"""Sizes of an Animate DiT, read off its tensors; config.json must agree with them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wan_trt.engine.errors import CheckpointError
from wan_trt.export.tensors import TensorSource


@dataclass(frozen=True)
class AnimateSizes:
    """`motion_channels` are the channels after conv 0 and after each down block of the motion
    encoder, whose input is `face_size` pixels square. `face_interval` is the number of blocks
    from one face block to the next."""

    dim: int
    heads: int
    ffn: int
    layers: int
    frequency_dim: int
    text_dim: int
    text_tokens: int
    image_dim: int
    image_tokens: int
    latent_channels: int
    condition_channels: int
    eps: float
    face_size: int
    motion_channels: tuple[int, ...]
    motion_dim: int
    motion_code: int
    face_hidden: int
    face_groups: int
    face_layers: int
    face_interval: int

    @property
    def head_dim(self) -> int:
        return self.dim // self.heads

    @staticmethod
    def read(source: TensorSource, config: Mapping[str, Any], image_tokens: int) -> AnimateSizes:
        """`image_tokens` is what the image encoder hands over (257 for a ViT-H/14 at 224).

        Raises CheckpointError where tensors are absent or config.json contradicts them."""
        names = set(source.names())
        channels, total, *patch = source.shape("patch_embedding.weight")
        if patch != [1, 2, 2]:
            raise CheckpointError(f"patch_embedding has patches {patch}", expected="[1, 2, 2]")
        latent_channels = source.shape("pose_patch_embedding.weight")[1]
        stem = "motion_encoder.enc.net_app.convs"
        downs = _count(names, rf"{re.escape(stem)}\.(\d+)\.conv1\.0\.weight")
        motion_channels = (
            source.shape(f"{stem}.0.0.weight")[0],
            *(source.shape(f"{stem}.{i}.conv2.1.weight")[0] for i in range(1, downs + 1)),
        )
        final_kernel = source.shape(f"{stem}.{downs + 1}.weight")[2]
        layers = _count(names, r"blocks\.(\d+)\.modulation")
        face_layers = _count(names, r"face_adapter\.fuser_blocks\.(\d+)\.linear1_q\.weight")
        head_dim = source.shape("face_adapter.fuser_blocks.0.q_norm.weight")[0]
        if face_layers == 0 or layers % face_layers:
            raise CheckpointError(
                f"{layers} blocks and {face_layers} face blocks",
                expected="a whole number of blocks for each face block",
            )
        sizes = AnimateSizes(
            dim=channels,
            heads=channels // head_dim,
            ffn=source.shape("blocks.0.ffn.0.weight")[0],
            layers=layers,
            frequency_dim=source.shape("time_embedding.0.weight")[1],
            text_dim=source.shape("text_embedding.0.weight")[1],
            text_tokens=int(config.get("text_len", 512)),
            image_dim=source.shape("img_emb.proj.1.weight")[1],
            image_tokens=image_tokens,
            latent_channels=latent_channels,
            condition_channels=total - latent_channels,
            eps=float(config.get("eps", 1e-6)),
            face_size=final_kernel << downs,
            motion_channels=motion_channels,
            motion_dim=source.shape("motion_encoder.dec.direction.weight")[0],
            motion_code=source.shape("motion_encoder.dec.direction.weight")[1],
            face_hidden=source.shape("face_encoder.conv2.conv.weight")[0],
            face_groups=source.shape("face_encoder.conv1_local.conv.weight")[0]
            // source.shape("face_encoder.conv2.conv.weight")[0],
            face_layers=face_layers,
            face_interval=layers // face_layers,
        )
        sizes._check(config)
        return sizes

    def _check(self, config: Mapping[str, Any]) -> None:
        stated = {
            "dim": self.dim,
            "num_heads": self.heads,
            "ffn_dim": self.ffn,
            "num_layers": self.layers,
            "freq_dim": self.frequency_dim,
            "in_dim": self.latent_channels + self.condition_channels,
            "motion_encoder_dim": self.motion_dim,
        }
        for key, value in stated.items():
            if config.get(key, value) != value:
                raise CheckpointError(
                    f"config.json says {key} = {config[key]}",
                    expected=f"{value}, as the tensors have it",
                    action="use the config.json that belongs to these weights",
                )
        for key, required in (("qk_norm", True), ("cross_attn_norm", True), ("use_img_emb", True)):
            if config.get(key, required) != required:
                raise CheckpointError(
                    f"config.json says {key} = {config[key]}", expected=str(required)
                )
        if list(config.get("window_size", (-1, -1))) != [-1, -1]:
            raise CheckpointError(
                f"config.json says window_size = {config['window_size']}",
                expected="full attention, [-1, -1]",
            )


def _count(names: set[str], pattern: str) -> int:
    """How many consecutive numbers, as `pattern` captures them, there are among the names."""
    found = {int(match[1]) for name in names if (match := re.fullmatch(pattern, name))}
    return max(found) + 1 - min(found) if found else 0
