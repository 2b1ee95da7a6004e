"""image_encoder: the vision tower of CLIP (open-clip XLM-RoBERTa ViT-H/14) up to its second last
hidden state, with the picture's preparation in the graph."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from wan_trt.engine.executor import GraphSpec, TensorSpec
from wan_trt.export.modeling.attention import attention
from wan_trt.export.modeling.module import ExportModule, Linear, WeightRule, default_rules
from wan_trt.export.tensors import TensorSource

PIXEL_CHANNELS = 3
PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)  # of pixels in [0, 1]
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)
HEAD_DIM = 80
NORM_EPS = 1e-5


@dataclass(frozen=True)
class ImageEncoderSizes:
    """`layers` counts the checkpoint's blocks, of which the last is not run."""

    width: int
    hidden: int
    layers: int
    patch: int
    tokens: int

    @classmethod
    def read(cls, source: TensorSource) -> ImageEncoderSizes:
        width, _, _, patch = source.shape("visual.patch_embedding.weight")
        return cls(
            width=width,
            hidden=source.shape("visual.transformer.0.mlp.0.weight")[0],
            layers=_layers(source.names()),
            patch=patch,
            tokens=source.shape("visual.pos_embedding")[1],
        )

    @property
    def image_size(self) -> int:
        """Rows and columns that the picture is resized to: 224."""
        return math.isqrt(self.tokens - 1) * self.patch

    @property
    def heads(self) -> int:
        return self.width // HEAD_DIM


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.width = width
        self.heads = heads
        self.to_qkv = Linear(width, 3 * width)
        self.proj = Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        qkv = self.to_qkv(x)
        query = qkv[..., : self.width]
        key = qkv[..., self.width : 2 * self.width]
        value = qkv[..., 2 * self.width :]
        y: torch.Tensor = self.proj(attention(query, key, value, self.heads))
        return y


class Block(nn.Module):
    """Transformer block with norms in front; x [1, tokens, width]."""

    def __init__(self, sizes: ImageEncoderSizes) -> None:
        super().__init__()
        width, hidden = sizes.width, sizes.hidden
        self.norm1 = nn.LayerNorm(width, eps=NORM_EPS)
        self.attn = Attention(width, sizes.heads)
        self.norm2 = nn.LayerNorm(width, eps=NORM_EPS)
        self.mlp = nn.Sequential(Linear(width, hidden), nn.GELU(), Linear(hidden, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        y: torch.Tensor = x + self.mlp(self.norm2(x))
        return y


class ImageEncoder(ExportModule):
    """image [3, height, width] in [-1, 1] -> image_features [tokens, image_dim].

    The picture is squeezed to a square whatever its aspect, bicubic without antialiasing, as
    upstream does (wan/modules/clip.py). The features are the hidden state before the last block
    of all tokens, the class token first, without the final norm.
    """

    def __init__(self, sizes: ImageEncoderSizes) -> None:
        super().__init__()
        self.sizes = sizes
        width, patch = sizes.width, sizes.patch
        self.patch_embedding = nn.Conv2d(PIXEL_CHANNELS, width, patch, stride=patch)
        self.cls_embedding = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embedding = nn.Parameter(torch.empty(1, sizes.tokens, width))
        self.pre_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.transformer = nn.Sequential(*(Block(sizes) for _ in range(sizes.layers - 1)))
        self.spec = GraphSpec(
            inputs=(TensorSpec("image", "float32", (PIXEL_CHANNELS, "height", "width")),),
            outputs=(TensorSpec("image_features", "float32", (sizes.tokens, width)),),
        )
        self.example_sizes = {"height": 48, "width": 80}

    def resize(self, image: torch.Tensor) -> torch.Tensor:
        """[3, height, width] -> [1, 3, image_size, image_size]."""
        size = (self.sizes.image_size, self.sizes.image_size)
        return F.interpolate(image.unsqueeze(0), size, mode="bicubic", align_corners=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        patches = self.patch_embedding(self.resize(image)).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_embedding, patches), dim=1) + self.pos_embedding
        features: torch.Tensor = self.transformer(self.pre_norm(x)).squeeze(0)
        return features

    def rules(self) -> dict[str, WeightRule]:
        rules = default_rules(self, "visual.")
        source = ("visual.patch_embedding.weight",)
        rules["patch_embedding.weight"] = WeightRule(source, _normalising_weight)
        rules["patch_embedding.bias"] = WeightRule(source, _normalising_bias)
        return rules


def _normalising_weight(weight: torch.Tensor) -> torch.Tensor:
    """Of the convolution over ((x + 1) / 2 - PIXEL_MEAN) / PIXEL_STD, as one over x."""
    return weight * 0.5 / weight.new_tensor(PIXEL_STD).reshape(1, -1, 1, 1)


def _normalising_bias(weight: torch.Tensor) -> torch.Tensor:
    offset = (0.5 - weight.new_tensor(PIXEL_MEAN)) / weight.new_tensor(PIXEL_STD)
    return (weight * offset.reshape(1, -1, 1, 1)).sum(dim=(1, 2, 3))


def unused(names: Iterable[str]) -> set[str]:
    """Checkpoint tensors that the graph leaves alone: text tower, last block, final norm, head."""
    names = list(names)
    last = f"visual.transformer.{_layers(names) - 1}."
    return {
        name
        for name in names
        if name in ("log_scale", "visual.head")
        or name.startswith(("textual.", "visual.post_norm.", last))
    }


def _layers(names: Iterable[str]) -> int:
    prefix = "visual.transformer."
    return 1 + max(int(name.split(".")[2]) for name in names if name.startswith(prefix))
