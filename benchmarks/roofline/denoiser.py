"""The denoiser graph in torch, as fast as torch has it: what a TensorRT plan must beat.

Inputs and parameters are those of the bundle's graph (docs/architecture.md): everything that does
not depend on the timestep is computed before. The residual stream and the modulation are float32,
linears and attentions bfloat16 or narrower.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from roofline.attentions import SelfAttention, in_heads, torch_attention
from roofline.linears import Linear
from roofline.sizes import DitSizes, VideoSize

_EPS = 1e-6
KeysAndValues = tuple[torch.Tensor, torch.Tensor]
Rope = tuple[torch.Tensor, torch.Tensor]


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2)) * weight over the last dimension, in x's type."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), _EPS)


class SelfBranch(nn.Module):
    def __init__(self, dit: DitSizes) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (Linear(dit.dim, dit.dim) for _ in range(4))
        self.norm_q, self.norm_k = RMSNorm(dit.dim), RMSNorm(dit.dim)
        self.attention = SelfAttention(dit.heads)
        self.heads = dit.heads

    def forward(self, x: torch.Tensor, rope: Rope) -> torch.Tensor:
        query = rotate(self.norm_q(self.q(x)), rope, self.heads)
        key = rotate(self.norm_k(self.k(x)), rope, self.heads)
        result: torch.Tensor = self.o(self.attention(query, key, self.v(x)))
        return result


class CrossBranch(nn.Module):
    """One query, an attention to each context, summed before the projection."""

    def __init__(self, dit: DitSizes) -> None:
        super().__init__()
        self.q, self.o = Linear(dit.dim, dit.dim), Linear(dit.dim, dit.dim)
        self.norm_q = RMSNorm(dit.dim)
        self.heads = dit.heads

    def forward(self, x: torch.Tensor, contexts: Sequence[KeysAndValues]) -> torch.Tensor:
        query = self.norm_q(self.q(x))
        mixed = [
            torch_attention(query, key.to(query.dtype), value.to(query.dtype), self.heads)
            for key, value in contexts
        ]
        result: torch.Tensor = self.o(sum(mixed[1:], start=mixed[0]))
        return result


class Block(nn.Module):
    def __init__(self, dit: DitSizes) -> None:
        super().__init__()
        self.self_attn = SelfBranch(dit)
        self.norm3 = nn.LayerNorm(dit.dim, eps=_EPS)
        self.cross_attn = CrossBranch(dit)
        self.ffn = nn.ModuleDict({"0": Linear(dit.dim, dit.ffn), "2": Linear(dit.ffn, dit.dim)})
        self.modulation = nn.Parameter(torch.empty(1, 6, dit.dim), requires_grad=False)

    def forward(
        self, x: torch.Tensor, time: torch.Tensor, rope: Rope, contexts: Sequence[KeysAndValues]
    ) -> torch.Tensor:
        """x [1, tokens, dim] and time [1, 6, dim] float32, rope [tokens, head_dim / 2]."""
        rows = self.modulation + time
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = (rows[:, i : i + 1] for i in range(6))
        x = x + self.self_attn(layer_norm(x) * (1 + scale) + shift, rope) * gate
        x = x + self.cross_attn(self.norm3(x), contexts)
        hidden = self.ffn["0"](layer_norm(x) * (1 + ffn_scale) + ffn_shift)
        result: torch.Tensor = x + self.ffn["2"](F.gelu(hidden, approximate="tanh")) * ffn_gate
        return result


class FaceBlock(nn.Module):
    """Each latent frame's tokens attend to the face tokens of that frame only."""

    def __init__(self, dit: DitSizes) -> None:
        super().__init__()
        self.linear1_q, self.linear2 = Linear(dit.dim, dit.dim), Linear(dit.dim, dit.dim)
        self.q_norm = RMSNorm(dit.dim // dit.heads)
        self.heads = dit.heads

    def forward(self, x: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """x [frames, tokens of a frame, dim], key and value [frames, keys, dim]."""
        query = in_heads(self.linear1_q(layer_norm(x)), self.heads)
        query = self.q_norm(query).flatten(2)
        mixed = torch_attention(query, key.to(query.dtype), value.to(query.dtype), self.heads)
        result: torch.Tensor = x + self.linear2(mixed)
        return result


@dataclass(frozen=True)
class Inputs:
    """Those of the denoiser graph; contexts [layers, keys, dim], faces [layers, frames, keys, dim],
    each a pair of keys and values."""

    latents: torch.Tensor
    time: torch.Tensor
    tokens: torch.Tensor
    rope: Rope
    contexts: tuple[KeysAndValues, ...]
    faces: KeysAndValues | None


class Denoiser(nn.Module):
    """`distinct` blocks are kept, and taken in turn for all layers: a real model's weights where
    memory has room for them."""

    def __init__(self, dit: DitSizes, distinct: int) -> None:
        super().__init__()
        dim, patch = dit.dim, 4 * dit.latent_channels
        full = torch.float32  # of both ends, as upstream has it
        self.patch_embedding = Linear(patch, dim, bias=False, compute=full)
        self.time_embedding = nn.ModuleDict(
            {
                "0": Linear(dit.frequency_dim, dim, compute=full),
                "2": Linear(dim, dim, compute=full),
            }
        )
        self.time_projection = Linear(dim, 6 * dim, compute=full)
        self.blocks = nn.ModuleList(Block(dit) for _ in range(distinct))
        self.face_blocks = nn.ModuleList(FaceBlock(dit) for _ in range(dit.face_layers))
        self.head = Linear(dim, patch, compute=full)
        self.head_modulation = nn.Parameter(torch.empty(1, 2, dim), requires_grad=False)
        self.dit = dit
        self.run_block: Callable[..., torch.Tensor] = call
        self.run_face: Callable[..., torch.Tensor] = call

    def forward(self, inputs: Inputs, layers: int | None = None) -> torch.Tensor:
        """The velocity [channels, frames, 2 * rows, 2 * columns], float32; of all layers, or of
        the first `layers` to warm up."""
        x, time, embedding = self.begin(inputs)
        frames, rows, columns, _ = inputs.tokens.shape
        for layer in range(layers or self.dit.layers):
            x = self.layer(layer, x, time, inputs)
            if inputs.faces is not None and layer % self.dit.face_interval == 0:
                face = layer // self.dit.face_interval
                keys, values = inputs.faces
                by_frame = x.view(frames, rows * columns, -1)
                x = self.run_face(self.face_blocks[face], by_frame, keys[face], values[face])
                x = x.view(1, frames * rows * columns, -1)
        shift, scale = (self.head_modulation + embedding[:, None]).chunk(2, dim=1)
        out = self.head(layer_norm(x) * (1 + scale) + shift)
        return unpatch(out.view(frames, rows, columns, -1))

    def begin(self, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """x, the time's rows [1, 6, dim] and its embedding [1, dim]."""
        x = self.patch_embedding(patches(inputs.latents)) + inputs.tokens
        embedding = self.time_embedding["2"](F.silu(self.time_embedding["0"](inputs.time)))
        time = self.time_projection(F.silu(embedding)).view(1, 6, -1)
        return x.flatten(0, 2)[None], time, embedding

    def layer(
        self, layer: int, x: torch.Tensor, time: torch.Tensor, inputs: Inputs
    ) -> torch.Tensor:
        contexts = [(keys[layer][None], values[layer][None]) for keys, values in inputs.contexts]
        block = self.blocks[layer % len(self.blocks)]
        return self.run_block(block, x, time, inputs.rope, contexts)


def call(module: nn.Module, *arguments: object) -> torch.Tensor:
    return cast(torch.Tensor, module(*arguments))


def layer_norm(x: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(x, (x.shape[-1],), eps=_EPS)


def rotate(x: torch.Tensor, rope: Rope, heads: int) -> torch.Tensor:
    """Rotary embedding of adjacent pairs, computed in float32; x [1, tokens, dim]."""
    first, second = x.float().reshape(*x.shape[:-1], heads, -1, 2).unbind(-1)
    cosine, sine = (table[:, None] for table in rope)
    turned = torch.stack((first * cosine - second * sine, first * sine + second * cosine), dim=-1)
    return turned.flatten(2).to(x.dtype)


def patches(latents: torch.Tensor) -> torch.Tensor:
    """[C, F, 2r, 2c] -> [F, r, c, 4C]."""
    channels, frames, height, width = latents.shape
    cut = latents.reshape(channels, frames, height // 2, 2, width // 2, 2)
    return cut.permute(1, 2, 4, 0, 3, 5).reshape(frames, height // 2, width // 2, 4 * channels)


def unpatch(tokens: torch.Tensor) -> torch.Tensor:
    """[F, r, c, 4C] -> [C, F, 2r, 2c]; a token holds (2, 2, C)."""
    frames, rows, columns, size = tokens.shape
    cut = tokens.reshape(frames, rows, columns, 2, 2, size // 4)
    return cut.permute(5, 0, 1, 3, 2, 4).reshape(size // 4, frames, 2 * rows, 2 * columns)


def fill(model: Denoiser, generator: torch.Generator) -> None:
    """Random weights that keep magnitudes: normal, by the square root of the inputs; norms 1."""
    for name, parameter in model.named_parameters():
        if name.endswith("weight") and parameter.dim() == 1:
            parameter.fill_(1.0)
        else:
            deviation = parameter.shape[-1] ** -0.5 if parameter.dim() > 1 else 0.02
            parameter.normal_(0.0, deviation, generator=generator)


def random_inputs(
    dit: DitSizes, video: VideoSize, generator: torch.Generator, dtype: torch.dtype
) -> Inputs:
    """Inputs of one forward pass; contexts in `dtype`."""
    device = generator.device
    grid = (video.latent_frames, video.rows, video.columns)

    def normal(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.randn(shape, generator=generator, device=device, dtype=dtype)

    def pair(*shape: int) -> KeysAndValues:
        return normal(*shape, dtype=dtype), normal(*shape, dtype=dtype)

    contexts = tuple(
        pair(dit.layers, keys, dit.dim) for keys in (dit.text_keys, dit.image_keys) if keys
    )
    angles = normal(video.tokens, dit.dim // dit.heads // 2) * 3
    return Inputs(
        latents=normal(dit.latent_channels, grid[0], 2 * grid[1], 2 * grid[2]),
        time=normal(1, dit.frequency_dim),
        tokens=normal(*grid, dit.dim),
        rope=(angles.cos(), angles.sin()),
        contexts=contexts,
        faces=pair(dit.face_layers, grid[0], dit.face_keys, dit.dim) if dit.face_layers else None,
    )
