"""The denoiser: the part of a DiT that runs at every step.

Upstream's forward pass (facts: 40 blocks of self attention, cross attention to text, feed-forward;
in Animate also cross attention to the image, and a face block after every fifth) less everything
that does not depend on the timestep, which `contexts.py` computes once. The residual stream and the
modulation are float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from wan_trt.engine.executor import GraphSpec, TensorSpec
from wan_trt.export.modeling.animate import FaceSizes, ImageSizes
from wan_trt.export.modeling.attention import Attention, RMSNorm, attention, layer_norm, rotate
from wan_trt.export.modeling.dit import DitSizes
from wan_trt.export.modeling.face import FACE_EPS
from wan_trt.export.modeling.module import ExportModule, Linear, WeightRule, default_rules

TIMESTEPS = 1001
_PIXELS = ("frames", "2*rows", "2*columns")


def sinusoids(dim: int) -> torch.Tensor:
    """Sinusoidal embedding of timesteps 0..1000, float32 [1001, dim], cosines first.

    Angles are computed in float64 as upstream does; a table makes that exact on every backend.
    """
    half = dim // 2
    frequencies = torch.pow(
        torch.tensor(10000.0, dtype=torch.float64),
        -torch.arange(half, dtype=torch.float64) / half,
    )
    angles = torch.outer(torch.arange(TIMESTEPS, dtype=torch.float64), frequencies)
    return torch.cat([angles.cos(), angles.sin()], dim=1).float()


class SelfAttention(nn.Module):
    def __init__(self, sizes: DitSizes) -> None:
        super().__init__()
        dim = sizes.dim
        self.q, self.k, self.v, self.o = (Linear(dim, dim) for _ in range(4))
        self.norm_q, self.norm_k = RMSNorm(dim, sizes.eps), RMSNorm(dim, sizes.eps)
        self.attention = Attention(sizes.heads)
        self.heads = sizes.heads

    def forward(self, x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
        query = rotate(self.norm_q(self.q(x)), cosine, sine, self.heads)
        key = rotate(self.norm_k(self.k(x)), cosine, sine, self.heads)
        result: torch.Tensor = self.o(self.attention(query, key, self.v(x)))
        return result


KeysAndValues = tuple[torch.Tensor, torch.Tensor]


class CrossAttention(nn.Module):
    """One query, an attention to each context (text, image), summed before the projection."""

    def __init__(self, sizes: DitSizes) -> None:
        super().__init__()
        self.q, self.o = Linear(sizes.dim, sizes.dim), Linear(sizes.dim, sizes.dim)
        self.norm_q = RMSNorm(sizes.dim, sizes.eps)
        self.heads = sizes.heads

    def forward(self, x: torch.Tensor, contexts: Sequence[KeysAndValues]) -> torch.Tensor:
        query = self.norm_q(self.q(x))
        mixed = [attention(query, key, value, self.heads) for key, value in contexts]
        total = mixed[0]
        for other in mixed[1:]:
            total = total + other
        result: torch.Tensor = self.o(total)
        return result


class Block(nn.Module):
    def __init__(self, sizes: DitSizes) -> None:
        super().__init__()
        self.self_attn = SelfAttention(sizes)
        self.norm3 = nn.LayerNorm(sizes.dim, eps=sizes.eps)
        self.cross_attn = CrossAttention(sizes)
        self.ffn = nn.ModuleDict(
            {"0": Linear(sizes.dim, sizes.ffn), "2": Linear(sizes.ffn, sizes.dim)}
        )
        self.modulation = nn.Parameter(torch.empty(1, 6, sizes.dim))
        self.eps = sizes.eps

    def forward(
        self,
        x: torch.Tensor,
        time: torch.Tensor,
        rope: tuple[torch.Tensor, torch.Tensor],
        contexts: Sequence[KeysAndValues],
    ) -> torch.Tensor:
        """x [1, tokens, dim], time [1, 6, dim], rope and contexts as the attentions take them."""
        rows = self.modulation + time
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = (rows[:, i : i + 1] for i in range(6))
        x = x + self.self_attn(layer_norm(x, self.eps) * (1 + scale) + shift, *rope) * gate
        x = x + self.cross_attn(self.norm3(x), contexts)
        hidden = self.ffn["0"](layer_norm(x, self.eps) * (1 + ffn_scale) + ffn_shift)
        result: torch.Tensor = x + self.ffn["2"](F.gelu(hidden, approximate="tanh")) * ffn_gate
        return result


class FaceBlock(nn.Module):
    """Each latent frame's tokens attend to the five face tokens of that frame only."""

    def __init__(self, sizes: DitSizes) -> None:
        super().__init__()
        self.linear1_q = Linear(sizes.dim, sizes.dim)
        self.linear2 = Linear(sizes.dim, sizes.dim)
        self.q_norm = RMSNorm(sizes.head_dim, FACE_EPS)
        self.heads = sizes.heads

    def forward(self, x: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """x [frames, tokens of a frame, dim], key and value [frames, 5, dim] -> residual."""
        query = self.linear1_q(layer_norm(x, FACE_EPS))
        query = self.q_norm(query.unflatten(2, (self.heads, -1))).flatten(2)
        result: torch.Tensor = self.linear2(attention(query, key, value, self.heads))
        return result


class Head(nn.Module):
    def __init__(self, sizes: DitSizes) -> None:
        super().__init__()
        self.head = Linear(sizes.dim, 4 * sizes.latent_channels)
        self.modulation = nn.Parameter(torch.empty(1, 2, sizes.dim))
        self.eps = sizes.eps

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """x [1, tokens, dim], time [1, 1, dim] -> [1, tokens, 4 * latent_channels]."""
        rows = self.modulation + time
        result: torch.Tensor = self.head(
            layer_norm(x, self.eps) * (1 + rows[:, 1:2]) + rows[:, 0:1]
        )
        return result


class Denoiser(ExportModule):
    """latents, timestep, contexts -> velocity; see docs/architecture.md for every tensor.

    `image` and `face` are the sizes of Animate's branches, None in a model without them: their
    contexts are then no inputs.
    """

    example_sizes: Mapping[str, int] = {"frames": 3, "rows": 4, "columns": 5}

    def __init__(
        self, sizes: DitSizes, image: ImageSizes | None = None, face: FaceSizes | None = None
    ) -> None:
        super().__init__()
        dim, channels = sizes.dim, sizes.latent_channels
        self.patch_embedding = Linear(4 * channels, dim, bias=False)
        self.time_table = nn.Buffer(torch.empty(TIMESTEPS, sizes.frequency_dim))
        self.time_embedding = nn.ModuleDict(
            {"0": Linear(sizes.frequency_dim, dim), "2": Linear(dim, dim)}
        )
        self.time_projection = nn.ModuleDict({"1": Linear(dim, 6 * dim)})
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.layers))
        if face is not None:
            fusers = nn.ModuleList(FaceBlock(sizes) for _ in range(face.layers))
            self.face_adapter = nn.ModuleDict({"fuser_blocks": fusers})
        self.head = Head(sizes)
        self.sizes, self.image, self.face = sizes, image, face
        self.spec = GraphSpec(
            inputs=self._inputs(),
            outputs=(TensorSpec("velocity", "float32", (channels, *_PIXELS)),),
        )

    def _inputs(self) -> tuple[TensorSpec, ...]:
        sizes, grid = self.sizes, ("frames", "rows", "columns")
        text = (sizes.layers, sizes.text_tokens, sizes.dim)
        inputs = [
            TensorSpec("latents", "float32", (sizes.latent_channels, *_PIXELS)),
            TensorSpec("timestep", "int64", (1,)),
            TensorSpec("tokens", "float32", (*grid, sizes.dim)),
            TensorSpec("rope_cos", "float32", (*grid, sizes.head_dim // 2)),
            TensorSpec("rope_sin", "float32", (*grid, sizes.head_dim // 2)),
            TensorSpec("text_keys", "float32", text),
            TensorSpec("text_values", "float32", text),
        ]
        if self.image is not None:
            image = (sizes.layers, self.image.tokens, sizes.dim)
            inputs += [TensorSpec(f"image_{x}", "float32", image) for x in ("keys", "values")]
        if self.face is not None:
            face = (self.face.layers, "frames", self.face.groups + 1, sizes.dim)
            inputs += [TensorSpec(f"face_{x}", "float32", face) for x in ("keys", "values")]
        return tuple(inputs)

    def forward(
        self,
        latents: torch.Tensor,
        timestep: torch.Tensor,
        tokens: torch.Tensor,
        rope_cos: torch.Tensor,
        rope_sin: torch.Tensor,
        *contexts: torch.Tensor,
    ) -> torch.Tensor:
        """`contexts`: keys and values of the text, then of the image and the faces if any."""
        x = self.patch_embedding(patches(latents)) + tokens
        frames, rows, columns, dim = x.shape
        length = frames * rows * columns
        x = x.reshape(1, length, dim)
        rope = rope_cos.reshape(1, length, -1), rope_sin.reshape(1, length, -1)
        embedding = self.time_embedding["0"](F.embedding(timestep, self.time_table))
        embedding = self.time_embedding["2"](F.silu(embedding))
        time = self.time_projection["1"](F.silu(embedding)).unflatten(1, (6, dim))
        pairs = list(zip(contexts[::2], contexts[1::2], strict=True))
        faces = pairs.pop() if self.face is not None else None
        for index, block in enumerate(self.blocks):
            own = slice(index, index + 1)
            x = block(x, time, rope, [(keys[own], values[own]) for keys, values in pairs])
            if self.face is not None and faces is not None and index % self.face.interval == 0:
                face = index // self.face.interval
                fuser = cast(nn.ModuleList, self.face_adapter["fuser_blocks"])[face]
                by_frame = x.reshape(frames, rows * columns, dim)
                residual = fuser(by_frame, faces[0][face], faces[1][face])
                x = x + residual.reshape(1, length, dim)
        out = self.head(x, embedding.unsqueeze(1))
        return unpatch(out.reshape(frames, rows, columns, -1))

    def rules(self) -> dict[str, WeightRule]:
        rules = default_rules(self)
        channels = self.sizes.latent_channels
        rules["time_table"] = WeightRule((), lambda: sinusoids(self.sizes.frequency_dim))
        rules["patch_embedding.weight"] = WeightRule(
            ("patch_embedding.weight",), lambda w: patch_matrix(w[:, :channels])
        )
        return rules


def patches(latents: torch.Tensor) -> torch.Tensor:
    """[C, F, 2r, 2c] -> [F, r, c, 4C], the order of a flattened conv kernel (C, 2, 2)."""
    channels, frames, height, width = latents.shape
    cut = latents.reshape(channels, frames, height // 2, 2, width // 2, 2)
    return cut.permute(1, 2, 4, 0, 3, 5).reshape(frames, height // 2, width // 2, 4 * channels)


def patch_matrix(kernel: torch.Tensor) -> torch.Tensor:
    """Conv kernel [dim, C, 1, 2, 2] -> matrix [4C, dim] for `patches`."""
    return kernel.reshape(kernel.shape[0], -1).t()


def unpatch(tokens: torch.Tensor) -> torch.Tensor:
    """[F, r, c, 4C] -> [C, F, 2r, 2c]; a token holds (2, 2, C), channel fastest."""
    frames, rows, columns, size = tokens.shape
    cut = tokens.reshape(frames, rows, columns, 2, 2, size // 4)
    return cut.permute(5, 0, 1, 3, 2, 4).reshape(size // 4, frames, 2 * rows, 2 * columns)
