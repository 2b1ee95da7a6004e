"""What E4M3 makes of numbers, in torch alone: the oracle of FP8 graphs."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import nn

from wan_trt.export.modeling.module import Linear


def rounded(x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """x as E4M3 with this scale holds it; larger values saturate."""
    return (x / scale).clamp(-448, 448).to(torch.float8_e4m3fn).float() * scale


def rounded_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    heads: int,
    ranges: Mapping[str, float],
) -> torch.Tensor:
    """Attention over [1, tokens, dim] with everything rounded that its products read; `ranges` of
    query, key and value."""
    scales = {name: torch.tensor(greatest) / 448 for name, greatest in ranges.items()}
    query = query * (query.shape[2] // heads) ** -0.5
    q, k, v = (
        by_head(rounded(x, scales[name]), heads)
        for name, x in (("query", query), ("key", key), ("value", value))
    )
    weights = torch.softmax(q @ k.transpose(2, 3), dim=-1)
    mixed = rounded(weights, torch.tensor(1.0) / 448) @ v
    return mixed.transpose(1, 2).flatten(2)


def by_head(x: torch.Tensor, heads: int) -> torch.Tensor:
    """[1, tokens, dim] -> [1, heads, tokens, head_dim]"""
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)


def round_linears(module: nn.Module, linears: Collection[str], ranges: Mapping[str, float]) -> None:
    """Weights of these linears, and inputs of those that have a range, as FP8 holds them, in
    float32."""
    for name in linears:
        linear = module.get_submodule(name)
        assert isinstance(linear, Linear)
        weight = linear.weight.data
        linear.weight.data = rounded(weight, weight.abs().amax(0) / 448)
        if name not in ranges:
            continue
        scale = torch.tensor(ranges[name]) / 448

        def round_input(
            _: nn.Module, args: tuple[torch.Tensor], scale: torch.Tensor = scale
        ) -> tuple[torch.Tensor]:
            return (rounded(args[0], scale),)

        linear.register_forward_pre_hook(round_input)


def narrow_others(module: nn.Module, linears: Collection[str]) -> None:
    """Weights of all linears but these as bfloat16 holds them."""
    for name, child in module.named_modules():
        if isinstance(child, Linear) and name not in linears:
            child.weight.data = child.weight.data.bfloat16().float()
