"""text_encoder: the encoder of UMT5 over the tokens of one prompt, without padding."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from wan_trt.engine.executor import GraphSpec, TensorSpec
from wan_trt.export.modeling.attention import RMSNorm
from wan_trt.export.modeling.module import ExportModule, Linear, WeightRule, default_rules
from wan_trt.export.tensors import TensorSource

MAX_TOKENS = 512
MAX_DISTANCE = 128  # tokens farther apart than this share their bucket
HEAD_DIM = 64
_FLOAT = 1  # onnx.TensorProto.FLOAT


@dataclass(frozen=True)
class TextEncoderSizes:
    vocabulary: int
    dim: int
    attention_dim: int
    hidden: int
    layers: int

    @classmethod
    def read(cls, source: TensorSource) -> TextEncoderSizes:
        vocabulary, dim = source.shape("token_embedding.weight")
        blocks = {name.split(".")[1] for name in source.names() if name.startswith("blocks.")}
        return cls(
            vocabulary=vocabulary,
            dim=dim,
            attention_dim=source.shape("blocks.0.attn.q.weight")[0],
            hidden=source.shape("blocks.0.ffn.fc1.weight")[0],
            layers=len(blocks),
        )

    @property
    def heads(self) -> int:
        return self.attention_dim // HEAD_DIM


class Attention(nn.Module):
    """Self-attention of unscaled products plus a bias by distance, softmax in float32.

    `position_bias` [heads, 2*MAX_TOKENS-1] is the checkpoint's bucket table spread out over all
    distances (see `_spread`).
    """

    def __init__(self, sizes: TextEncoderSizes) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.q = Linear(sizes.dim, sizes.attention_dim, bias=False)
        self.k = Linear(sizes.dim, sizes.attention_dim, bias=False)
        self.v = Linear(sizes.dim, sizes.attention_dim, bias=False)
        self.o = Linear(sizes.attention_dim, sizes.dim, bias=False)
        self.position_bias = nn.Parameter(torch.empty(sizes.heads, 2 * MAX_TOKENS - 1))

    def forward(self, x: torch.Tensor, distances: torch.Tensor) -> torch.Tensor:
        """x [1, tokens, dim], distances int64 [tokens * tokens]: columns of `position_bias`."""
        tokens = x.shape[1]
        bias = torch.index_select(self.position_bias, 1, distances)
        mixed = torch.onnx.ops.attention(
            self.q(x),
            self.k(x),
            self.v(x),
            bias.reshape(1, self.heads, tokens, tokens),
            q_num_heads=self.heads,
            kv_num_heads=self.heads,
            scale=1.0,
            softmax_precision=_FLOAT,
        )[0]
        y: torch.Tensor = self.o(mixed)
        return y


class FeedForward(nn.Module):
    """fc2(fc1(x) * gelu(gate(x))), GELU by tanh."""

    def __init__(self, sizes: TextEncoderSizes) -> None:
        super().__init__()
        self.gate = nn.Sequential(Linear(sizes.dim, sizes.hidden, bias=False))
        self.fc1 = Linear(sizes.dim, sizes.hidden, bias=False)
        self.fc2 = Linear(sizes.hidden, sizes.dim, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.fc2(self.fc1(x) * F.gelu(self.gate(x), approximate="tanh"))
        return y


class Block(nn.Module):
    def __init__(self, sizes: TextEncoderSizes) -> None:
        super().__init__()
        self.norm1 = RMSNorm(sizes.dim)
        self.attn = Attention(sizes)
        self.norm2 = RMSNorm(sizes.dim)
        self.ffn = FeedForward(sizes)

    def forward(self, x: torch.Tensor, distances: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x), distances)
        y: torch.Tensor = x + self.ffn(self.norm2(x))
        return y


class TextEncoder(ExportModule):
    """token_ids int64 [tokens] -> text_rows [tokens, text_dim], at most MAX_TOKENS of them.

    Upstream pads to MAX_TOKENS and masks; the bias depends on distances alone, so the rows of the
    real tokens are the same without padding.
    """

    def __init__(self, sizes: TextEncoderSizes) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(sizes.vocabulary, sizes.dim)
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.layers))
        self.norm = RMSNorm(sizes.dim)
        self.spec = GraphSpec(
            inputs=(TensorSpec("token_ids", "int64", ("tokens",)),),
            outputs=(TensorSpec("text_rows", "float32", ("tokens", sizes.dim)),),
        )
        self.example_sizes = {"tokens": 7}

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        positions = torch.arange(token_ids.shape[0])
        distances = positions.unsqueeze(0) - positions.unsqueeze(1)  # of the key from the query
        columns = (distances + (MAX_TOKENS - 1)).reshape(-1)
        x = self.token_embedding(token_ids).unsqueeze(0)
        for block in self.blocks:
            x = block(x, columns)
        rows: torch.Tensor = self.norm(x).squeeze(0)
        return rows

    def rules(self) -> dict[str, WeightRule]:
        rules = default_rules(self)
        for index in range(len(self.blocks)):
            source = f"blocks.{index}.pos_embedding.embedding.weight"
            rules[f"blocks.{index}.attn.position_bias"] = WeightRule((source,), _spread)
        return rules


def _spread(buckets: torch.Tensor) -> torch.Tensor:
    """[buckets, heads] -> [heads, distances from 1-MAX_TOKENS to MAX_TOKENS-1]."""
    distances = torch.arange(1 - MAX_TOKENS, MAX_TOKENS)
    return buckets[bucket_of(distances, buckets.shape[0])].t()


def bucket_of(distances: torch.Tensor, buckets: int) -> torch.Tensor:
    """T5's bucket of a distance (arXiv 1910.10683, section 2.1), half of them for each direction.

    Of a half, the first half are for one distance each, the others grow by a constant factor up
    to MAX_DISTANCE. In float32 in upstream's order: the edges fall on whole numbers.
    """
    half = buckets // 2
    exact = half // 2
    sizes = distances.abs()
    growth = torch.log(sizes.clamp(min=1).float() / exact) / math.log(MAX_DISTANCE / exact)
    far = (exact + (growth * (half - exact)).long()).clamp(max=half - 1)
    return torch.where(distances > 0, half, 0) + torch.where(sizes < exact, sizes, far)


def unused(names: Iterable[str]) -> set[str]:
    """Checkpoint tensors that the graph leaves alone: none."""
    del names
    return set()
