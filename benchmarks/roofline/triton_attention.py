"""Attention in FP8: query, key, value and softmax in E4M3, sums in float32. A Triton kernel.

What TensorRT's FP8 attention computes: static scales of Q, K and V, and softmax values rounded
after a multiplication with 448. As flash attention it goes through the keys once, with the running
maximum and sum of "Online normalizer calculation for softmax" (Milakov, Gimelshein 2018).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch.nn import functional as F

from roofline.attentions import in_heads
from roofline.linears import E4M3_MAX, e4m3

_LOG2_E4M3_MAX = tl.constexpr(math.log2(448.0))


@dataclass(frozen=True)
class Tile:
    """Queries and keys of a program, and how Triton runs it."""

    queries: int = 128
    keys: int = 128
    warps: int = 8
    stages: int = 2


TILES = (Tile(), Tile(stages=3), Tile(keys=64, stages=3), Tile(queries=64, warps=4, stages=3))
_PADDED_TO = 128  # a multiple of every tile
_chosen = TILES[0]


def choose(tile: Tile) -> None:
    """The tile that all calls from now on take."""
    global _chosen
    _chosen = tile


@triton.jit
def _attend(
    query: tl.tensor,
    key: tl.tensor,
    value: tl.tensor,
    out: tl.tensor,
    tokens: tl.tensor,
    padded: tl.tensor,
    score_scale: tl.tensor,
    value_scale: tl.tensor,
    heads: tl.constexpr,
    head_dim: tl.constexpr,
    tile_queries: tl.constexpr,
    tile_keys: tl.constexpr,
) -> None:
    """E4M3 query and key [heads, padded, head_dim], value [heads, head_dim, padded] - keys side by
    side, as the matrix units want an FP8 operand - to out [tokens, heads * head_dim]."""
    head = tl.program_id(1)
    start = head.to(tl.int64) * padded * head_dim
    rows = tl.program_id(0) * tile_queries + tl.arange(0, tile_queries)
    channels = tl.arange(0, head_dim)
    columns = tl.arange(0, tile_keys)
    q = tl.load(query + start + rows[:, None] * head_dim + channels[None, :])
    keys = key + start + columns[None, :] * head_dim + channels[:, None]
    values = value + start + channels[None, :] * padded + columns[:, None]
    greatest = tl.full([tile_queries], -float("inf"), tl.float32)
    total = tl.zeros([tile_queries], tl.float32)
    mixed = tl.zeros([tile_queries, head_dim], tl.float32)
    for first in range(0, tokens, tile_keys):
        scores = tl.dot(q, tl.load(keys + first * head_dim)) * score_scale
        scores = tl.where(first + columns[None, :] < tokens, scores, -float("inf"))
        now_greatest = tl.maximum(greatest, tl.max(scores, 1))
        weights = tl.exp2(scores - now_greatest[:, None] + _LOG2_E4M3_MAX)
        kept = tl.exp2(greatest - now_greatest)
        total = total * kept + tl.sum(weights, 1)
        # sm_90 is reported to keep some 14 bits of FP8 sums: a tile's there, all tiles' in float32.
        mixed = mixed * kept[:, None] + tl.dot(weights.to(q.dtype), tl.load(values + first))
        greatest = now_greatest
    mixed = mixed / total[:, None] * value_scale
    places = out + rows[:, None].to(tl.int64) * (heads * head_dim) + head * head_dim
    tl.store(
        places + channels[None, :], mixed.to(out.dtype.element_ty), mask=rows[:, None] < tokens
    )


@torch.library.custom_op(
    "roofline::fp8_attention",
    mutates_args=(),
    schema="(Tensor query, Tensor key, Tensor value, int tokens, float score_scale, "
    "float value_scale) -> Tensor",
)
def _fp8_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    tokens: int,
    score_scale: float,
    value_scale: float,
) -> torch.Tensor:
    heads, padded, head_dim = query.shape
    out = query.new_empty((tokens, heads * head_dim), dtype=torch.bfloat16)
    _attend[(triton.cdiv(tokens, _chosen.queries), heads)](
        query,
        key,
        value,
        out,
        tokens,
        padded,
        score_scale,
        value_scale,
        heads=heads,
        head_dim=head_dim,
        tile_queries=_chosen.queries,
        tile_keys=_chosen.keys,
        num_warps=_chosen.warps,
        num_stages=_chosen.stages,
    )
    return out


@_fp8_attention.register_fake
def _(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    tokens: int,
    score_scale: float,
    value_scale: float,
) -> torch.Tensor:
    del key, value, score_scale, value_scale
    heads, _, head_dim = query.shape
    return query.new_empty((tokens, heads * head_dim), dtype=torch.bfloat16)


def quantised_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    heads: int,
    ranges: tuple[float, float, float],
) -> torch.Tensor:
    """bfloat16 [1, tokens, heads * head_dim] -> the same; `ranges` are of query, key, value."""
    tokens = query.shape[1]
    padding = -tokens % _PADDED_TO
    q, k, v = (
        e4m3(in_heads(F.pad(x[0], (0, 0, 0, padding)), heads), E4M3_MAX / greatest)
        for x, greatest in zip((query, key, value), ranges, strict=True)
    )
    score_scale = ranges[0] * ranges[1] / E4M3_MAX**2 / math.sqrt(q.shape[-1]) * math.log2(math.e)
    mixed: torch.Tensor = torch.ops.roofline.fp8_attention(
        q.transpose(0, 1).contiguous(),
        k.transpose(0, 1).contiguous(),
        v.permute(1, 2, 0).contiguous(),
        tokens,
        score_scale,
        ranges[2] / E4M3_MAX,
    )
    return mixed[None]
