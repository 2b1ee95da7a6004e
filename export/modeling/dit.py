"""Sizes of a Wan DiT without its branches, read off its tensors; config.json must agree."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from wan_trt.engine.errors import CheckpointError
from wan_trt.export.tensors import TensorSource

HEAD_DIM = 128  # of every Wan2.1 and Wan2.2 model


@dataclass(frozen=True)
class DitSizes:
    """`condition_channels` are those of the patch embedding beside the noisy latents: 4 of the
    mask and as many as a latent has."""

    dim: int
    heads: int
    ffn: int
    layers: int
    frequency_dim: int
    text_dim: int
    text_tokens: int
    latent_channels: int
    condition_channels: int
    eps: float

    @property
    def head_dim(self) -> int:
        return self.dim // self.heads

    @staticmethod
    def read(
        source: TensorSource, config: Mapping[str, Any], head_dim: int | None = None
    ) -> DitSizes:
        """`head_dim` where the tensors tell it; else it is that of config.json, or HEAD_DIM.

        Raises CheckpointError where tensors are absent or config.json contradicts them."""
        dim, total, *patch = source.shape("patch_embedding.weight")
        if patch != [1, 2, 2]:
            raise CheckpointError(f"patch_embedding has patches {patch}", expected="[1, 2, 2]")
        latent_channels = source.shape("head.head.weight")[0] // 4
        heads = dim // head_dim if head_dim else _number(config, "num_heads", dim // HEAD_DIM)
        if heads < 1 or dim % heads or dim // heads % 2:
            raise CheckpointError(
                f"config.json says num_heads = {heads}",
                expected=f"heads of an even width that share {dim} channels",
                action="use the config.json that belongs to these weights",
            )
        sizes = DitSizes(
            dim=dim,
            heads=heads,
            ffn=source.shape("blocks.0.ffn.0.weight")[0],
            layers=count_numbers(source.names(), r"blocks\.(\d+)\.modulation"),
            frequency_dim=source.shape("time_embedding.0.weight")[1],
            text_dim=source.shape("text_embedding.0.weight")[1],
            text_tokens=_number(config, "text_len", 512),
            latent_channels=latent_channels,
            condition_channels=total - latent_channels,
            eps=float(_number(config, "eps", 1e-6)),
        )
        if sizes.condition_channels != 4 + latent_channels:
            raise CheckpointError(
                f"patch_embedding takes {total} channels",
                expected=f"{2 * latent_channels + 4}: noise, mask and given latents",
                action="use an Animate or image-to-video model; text-to-video has no condition",
            )
        check_config(config, sizes._stated())
        for key, required in (("qk_norm", True), ("cross_attn_norm", True)):
            if config.get(key, required) != required:
                raise CheckpointError(
                    f"config.json says {key} = {config[key]}", expected=str(required)
                )
        if config.get("window_size", [-1, -1]) not in ([-1, -1], (-1, -1)):
            raise CheckpointError(
                f"config.json says window_size = {config['window_size']}",
                expected="full attention, [-1, -1]",
            )
        return sizes

    def _stated(self) -> dict[str, int]:
        return {
            "dim": self.dim,
            "num_heads": self.heads,
            "ffn_dim": self.ffn,
            "num_layers": self.layers,
            "freq_dim": self.frequency_dim,
            "in_dim": self.latent_channels + self.condition_channels,
            "out_dim": self.latent_channels,
            "text_dim": self.text_dim,
        }


_Number = TypeVar("_Number", int, float)


def _number(config: Mapping[str, Any], key: str, default: _Number) -> _Number:
    """A number of config.json above 0, whole where the default is; else CheckpointError."""
    value = config.get(key, default)
    whole = isinstance(default, int)
    if (
        isinstance(value, bool)
        or not isinstance(value, int if whole else (int, float))
        or not 0 < value < math.inf
    ):
        raise CheckpointError(
            f"config.json says {key} = {value!r}",
            expected=f"a {'whole ' if whole else ''}number above 0",
            action="use the config.json that belongs to these weights",
        )
    return cast(_Number, value)


def check_config(config: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raises CheckpointError where config.json says something else than the tensors."""
    for key, value in expected.items():
        if config.get(key, value) != value:
            raise CheckpointError(
                f"config.json says {key} = {config[key]}",
                expected=f"{value}, as the tensors have it",
                action="use the config.json that belongs to these weights",
            )


def count_numbers(names: Iterable[str], pattern: str) -> int:
    """How many consecutive numbers, as `pattern` captures them, there are among the names."""
    found = {int(match[1]) for name in names if (match := re.fullmatch(pattern, name))}
    return max(found) + 1 - min(found) if found else 0
