"""Self attention by one kernel or another."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from roofline.work import Attention

BACKENDS: Mapping[Attention, SDPBackend] = {
    Attention.MATH: SDPBackend.MATH,
    Attention.EFFICIENT: SDPBackend.EFFICIENT_ATTENTION,
    Attention.FLASH: SDPBackend.FLASH_ATTENTION,
    Attention.CUDNN: SDPBackend.CUDNN_ATTENTION,
}
# For few keys, where it hardly matters which runs.
_GENERAL = (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)
_MODULES = {
    Attention.FLASH_3: "flash_attn_interface",
    Attention.SAGE: "sageattention",
    Attention.TRITON_FP8: "triton",
}


class SelfAttention(nn.Module):
    """softmax(q k^T / sqrt(head_dim)) v; all [1, tokens, dim], heads side by side in dim.

    `ranges` are the greatest magnitudes of query, key and value that 8-bit kernels of ours hold.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.kind = Attention.MATH
        self.ranges = (8.0, 8.0, 8.0)

    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        mixed: torch.Tensor
        match self.kind:
            case Attention.TRITON_FP8:
                from roofline.triton_attention import quantised_attention

                mixed = quantised_attention(query, key, value, self.heads, self.ranges)
            case Attention.SAGE:
                mixed = _sage(query, key, value, self.heads)
            case Attention.FLASH_3:
                mixed = _flash_3(query, key, value, self.heads)
            case _:
                backends = [BACKENDS[self.kind]]
                mixed = torch_attention(query, key, value, self.heads, backends)
        return mixed


def torch_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    heads: int,
    backends: Sequence[SDPBackend] = _GENERAL,
) -> torch.Tensor:
    """torch's own, by the first of the backends that takes these tensors. float32 is computed as
    float32: fused kernels may round it."""
    chosen = [SDPBackend.MATH] if query.dtype is torch.float32 else list(backends)
    q, k, v = (in_heads(x, heads).transpose(1, 2) for x in (query, key, value))
    with sdpa_kernel(chosen):
        mixed = F.scaled_dot_product_attention(q, k, v)
    return mixed.transpose(1, 2).flatten(2)


def in_heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """[.., heads * head_dim] -> [.., heads, head_dim]."""
    return x.reshape(*x.shape[:-1], heads, -1)


def absent(kind: Attention) -> str | None:
    """Why a kernel cannot even be tried; None where it can."""
    module = _MODULES.get(kind)
    if module is not None and importlib.util.find_spec(module) is None:
        return f"the package {module} is not installed"
    return None


def score_nbytes(heads: int, tokens: int) -> int:
    """What the kernel `math` writes at one time: scores and their softmax in float32."""
    return 2 * 4 * heads * tokens**2


@torch.compiler.disable
def _sage(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int) -> torch.Tensor:
    """SageAttention: 8-bit integers for the scores, FP8 for the values where the GPU has it."""
    from sageattention import sageattn

    q, k, v = (in_heads(x, heads) for x in (query, key, value))
    mixed: torch.Tensor = sageattn(q, k, v, tensor_layout="NHD", is_causal=False)
    return mixed.flatten(2)


@torch.compiler.disable
def _flash_3(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int
) -> torch.Tensor:
    from flash_attn_interface import flash_attn_func

    q, k, v = (in_heads(x, heads) for x in (query, key, value))
    found = flash_attn_func(q, k, v)
    mixed: torch.Tensor = found[0] if isinstance(found, tuple) else found
    return mixed.flatten(2)
