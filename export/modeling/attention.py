"""Attention and normalisation as single ONNX nodes (opset 23)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


def attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int
) -> torch.Tensor:
    """softmax(q k^T / sqrt(head_dim)) v; all [batch, tokens, dim], heads side by side in dim.

    One Attention node: heads are an attribute, so no transposes surround it.
    """
    if not torch.compiler.is_exporting():
        # In calibration. The operator's eager form also makes the whole score matrix: at 480p
        # 172 GB.
        parts = (x.reshape(*x.shape[:2], heads, -1) for x in (query, key, value))
        q, k, v = (x.transpose(1, 2) for x in parts)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    result: torch.Tensor = torch.onnx.ops.attention(
        query, key, value, q_num_heads=heads, kv_num_heads=heads
    )[0]
    return result


class Attention(nn.Module):
    """`attention` as a module without weights, so that calibration can look at what it reads."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return attention(query, key, value, self.heads)


def query_scale(head_dim: int) -> float:
    """What queries are multiplied by before they meet the keys."""
    return float(head_dim**-0.5)


def rotate(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor, heads: int) -> torch.Tensor:
    """Rotary embedding of adjacent pairs; x [1, tokens, dim], tables [1, tokens, head_dim/2]."""
    return torch.onnx.ops.rotary_embedding(x, cosine, sine, interleaved=True, num_heads=heads)


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight over the last dimension: one RMSNormalization node."""

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


def layer_norm(x: torch.Tensor, eps: float = 1e-6) -> torch.Tensor:
    """Layer normalisation over the last dimension without weight and bias."""
    return torch.nn.functional.layer_norm(x, (x.shape[-1],), eps=eps)
