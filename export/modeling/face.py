"""From face crops to the keys and values of the face blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from wan_trt.engine.executor import GraphSpec, TensorSpec
from wan_trt.export.modeling.animate import FaceSizes
from wan_trt.export.modeling.attention import RMSNorm, layer_norm
from wan_trt.export.modeling.dit import DitSizes
from wan_trt.export.modeling.module import (
    ExportModule,
    Linear,
    WeightRule,
    default_rules,
)

_STEM = "motion_encoder.enc.net_app.convs"
_FC_LAYERS = 5
_SQRT2 = math.sqrt(2.0)
FACE_EPS = 1e-6  # of the face blocks' norms, whatever config.json says of the others


class DownBlock(nn.Module):
    """Residual block that halves the picture (LIA's appearance encoder).

    Upstream's scaled leaky ReLU is leaky_relu(x + b, 0.2) * sqrt(2) and the block ends with a
    division by sqrt(2): both are positive factors, so they live in the weights (see `rules`).
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, inputs, 3, padding=1)
        self.conv2 = nn.Conv2d(inputs, outputs, 3, stride=2)
        self.skip = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.blur = nn.Buffer(torch.empty(inputs, 1, 4, 4))
        self.channels = inputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        main = F.leaky_relu(self.conv1(x), 0.2)
        main = F.conv2d(main, self.blur, padding=2, groups=self.channels)
        main = F.leaky_relu(self.conv2(main), 0.2)
        # The 1x1 convolution has stride 2 upstream: blurring with that stride is the same.
        skip = F.conv2d(x, self.blur, stride=2, padding=1, groups=self.channels)
        result: torch.Tensor = main + self.skip(skip)
        return result


class MotionEncoder(ExportModule):
    """faces [batch, 3, face_size, face_size] in [-1, 1] -> motion [batch, motion_dim]."""

    example_sizes: Mapping[str, int] = {"batch": 3}
    precise = True

    def __init__(self, face: FaceSizes) -> None:
        super().__init__()
        channels = face.motion_channels
        self.stem = nn.Conv2d(3, channels[0], 1)
        self.blocks = nn.ModuleList(
            DownBlock(inputs, outputs) for inputs, outputs in pairwise(channels)
        )
        kernel = face.size >> len(self.blocks)
        self.final = nn.Conv2d(channels[-1], face.motion_dim, kernel, bias=False)
        self.projection = Linear(face.motion_dim, face.motion_dim)
        pixels = ("batch", 3, face.size, face.size)
        self.spec = GraphSpec(
            inputs=(TensorSpec("faces", "float32", pixels),),
            outputs=(TensorSpec("motion", "float32", ("batch", face.motion_dim)),),
        )

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        x = F.leaky_relu(self.stem(faces), 0.2)
        for block in self.blocks:
            x = block(x)
        result: torch.Tensor = self.projection(self.final(x).flatten(1))
        return result

    def rules(self) -> dict[str, WeightRule]:
        last = len(self.blocks) + 1
        fc = [f"motion_encoder.enc.fc.{i}" for i in range(_FC_LAYERS)]
        chain = tuple(f"{name}.{part}" for name in fc for part in ("weight", "bias"))
        chain = ("motion_encoder.dec.direction.weight", *chain)
        rules = {
            "stem.weight": WeightRule((f"{_STEM}.0.0.weight",), lambda w: _equal(w) * _SQRT2),
            "stem.bias": WeightRule((f"{_STEM}.0.1.bias",), lambda b: b.flatten() * _SQRT2),
            "final.weight": WeightRule((f"{_STEM}.{last}.weight",), _equal),
            "projection.weight": WeightRule(chain, lambda *t: _affine(*t)[0]),
            "projection.bias": WeightRule(chain, lambda *t: _affine(*t)[1]),
        }
        for i in range(len(self.blocks)):
            there, here = f"{_STEM}.{i + 1}", f"blocks.{i}"
            channels = int(self.blocks[i].channels)  # type: ignore[arg-type]
            rules |= {
                f"{here}.conv1.weight": WeightRule(
                    (f"{there}.conv1.0.weight",), lambda w: _equal(w) * _SQRT2
                ),
                f"{here}.conv1.bias": WeightRule(
                    (f"{there}.conv1.1.bias",), lambda b: b.flatten() * _SQRT2
                ),
                f"{here}.conv2.weight": WeightRule((f"{there}.conv2.1.weight",), _equal),
                f"{here}.conv2.bias": WeightRule((f"{there}.conv2.2.bias",), torch.flatten),
                f"{here}.skip.weight": WeightRule(
                    (f"{there}.skip.1.weight",), lambda w: _equal(w) / _SQRT2
                ),
                f"{here}.blur": WeightRule(
                    (f"{there}.conv2.0.kernel", f"{there}.skip.0.kernel"),
                    lambda k, _, n=channels: k.expand(n, 1, 4, 4),
                ),
            }
        return rules


def _equal(weight: torch.Tensor) -> torch.Tensor:
    """Equalised learning rate: the weight that is used is w / sqrt(fan_in)."""
    return weight / math.sqrt(weight[0].numel())


def _affine(direction: torch.Tensor, *layers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The five linear layers and the orthogonal directions as one map x @ W + b.

    Nothing non-linear stands between them. Q is frozen here: LAPACK leaves the signs of its
    columns as they fall, so it must come from the same factorisation upstream uses.
    """
    orthogonal = torch.linalg.qr(direction + 1e-8).Q.double()
    weight = torch.eye(layers[0].shape[1], dtype=torch.float64)
    bias = torch.zeros(layers[0].shape[1], dtype=torch.float64)
    for w, b in zip(layers[::2], layers[1::2], strict=True):
        scaled = w.double().t() / math.sqrt(w.shape[1])
        weight, bias = weight @ scaled, bias @ scaled + b.double()
    return (weight @ orthogonal.t()).float(), (bias @ orthogonal.t()).float()


class CausalConv(nn.Module):
    """Conv over time that repeats the first frame twice on the left; [N, C, T] -> [N, D, T']."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, 3, stride=stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = x[:, :, :1]
        result: torch.Tensor = self.conv(torch.cat([first, first, x], dim=2))
        return result


class FaceKeys(nn.Module):
    """Keys and values of one face block: `linear1_kv` of the checkpoint in its halves."""

    def __init__(self, sizes: DitSizes) -> None:
        super().__init__()
        self.linear1_k, self.linear1_v = (Linear(sizes.dim, sizes.dim) for _ in range(2))
        self.k_norm = RMSNorm(sizes.head_dim, FACE_EPS)
        self.heads = sizes.heads

    def forward(self, motion_tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = layer_norm(motion_tokens, FACE_EPS)
        key = self.k_norm(self.linear1_k(x).unflatten(2, (self.heads, -1))).flatten(2)
        return key, self.linear1_v(x)


class FaceContext(ExportModule):
    """motion [4*latents-3, motion_dim] -> face_keys, face_values [.., latents+1, 5, dim]."""

    example_sizes: Mapping[str, int] = {"latents": 4}

    def __init__(self, sizes: DitSizes, face: FaceSizes) -> None:
        super().__init__()
        hidden = face.hidden
        self.conv1_local = CausalConv(face.motion_dim, face.groups * hidden)
        self.conv2 = CausalConv(hidden, hidden, stride=2)
        self.conv3 = CausalConv(hidden, hidden, stride=2)
        self.out_proj = Linear(hidden, sizes.dim)
        self.padding_tokens = nn.Parameter(torch.empty(1, 1, 1, sizes.dim))
        fusers = nn.ModuleList(FaceKeys(sizes) for _ in range(face.layers))
        self.face_adapter = nn.ModuleDict({"fuser_blocks": fusers})
        self.groups, self.hidden, self.dim = face.groups, hidden, sizes.dim
        rows = (face.layers, "latents+1", face.groups + 1, sizes.dim)
        self.spec = GraphSpec(
            inputs=(TensorSpec("motion", "float32", ("4*latents-3", face.motion_dim)),),
            outputs=(
                TensorSpec("face_keys", "float32", rows),
                TensorSpec("face_values", "float32", rows),
            ),
        )

    def face_tokens(self, motion: torch.Tensor) -> torch.Tensor:
        """motion [T, motion_dim] -> [(T-1)/4+1, groups + 1, dim]."""
        x = self.conv1_local(motion.t().unsqueeze(0))
        x = x.reshape(self.groups, self.hidden, x.shape[2])
        for conv in (self.conv2, self.conv3):
            x = conv(F.silu(layer_norm(x.transpose(1, 2))).transpose(1, 2))
        tokens = self.out_proj(F.silu(layer_norm(x.transpose(1, 2)))).transpose(0, 1)
        padding = self.padding_tokens[0].expand(tokens.shape[0], 1, self.dim)
        return torch.cat([tokens, padding], dim=1)

    def forward(self, motion: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = self.face_tokens(motion)
        tokens = torch.cat([torch.zeros_like(tokens[:1]), tokens])
        pairs = [block(tokens) for block in self._fusers]
        return torch.stack([key for key, _ in pairs]), torch.stack([value for _, value in pairs])

    def rules(self) -> dict[str, WeightRule]:
        rules = {
            name: rule
            for name, rule in default_rules(self, "face_encoder.").items()
            if not name.startswith("face_adapter.")
        }
        for i in range(len(self._fusers)):
            block = f"face_adapter.fuser_blocks.{i}"
            both = f"{block}.linear1_kv"
            for part, rows in (
                ("linear1_k", slice(None, self.dim)),
                ("linear1_v", slice(self.dim, None)),
            ):
                rules[f"{block}.{part}.weight"] = WeightRule(
                    (f"{both}.weight",), lambda w, rows=rows: w[rows].t()
                )
                rules[f"{block}.{part}.bias"] = WeightRule(
                    (f"{both}.bias",), lambda b, rows=rows: b[rows]
                )
            rules[f"{block}.k_norm.weight"] = WeightRule((f"{block}.k_norm.weight",))
        return rules

    @property
    def _fusers(self) -> nn.ModuleList:
        return cast(nn.ModuleList, self.face_adapter["fuser_blocks"])
