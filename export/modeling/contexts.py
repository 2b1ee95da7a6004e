"""What the denoiser needs and the timestep does not change: text, image and segment contexts.

Each graph is a slice of the upstream forward pass that is run once for a prompt, a job or a
segment instead of at every step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from wan_trt.engine.executor import GraphSpec, TensorSpec
from wan_trt.export.modeling.animate import ImageSizes
from wan_trt.export.modeling.attention import RMSNorm
from wan_trt.export.modeling.denoiser import patch_matrix, patches
from wan_trt.export.modeling.dit import DitSizes
from wan_trt.export.modeling.module import ExportModule, Linear, WeightRule, default_rules

_PLANE = ("2*rows", "2*columns")


class TextKeys(nn.Module):
    """The key and value projections of one block's cross attention to text."""

    def __init__(self, sizes: DitSizes) -> None:
        super().__init__()
        self.k, self.v = Linear(sizes.dim, sizes.dim), Linear(sizes.dim, sizes.dim)
        self.norm_k = RMSNorm(sizes.dim, sizes.eps)

    def forward(self, context: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.norm_k(self.k(context)), self.v(context)


class ImageKeys(nn.Module):
    """The key and value projections of one block's cross attention to the image."""

    def __init__(self, sizes: DitSizes) -> None:
        super().__init__()
        self.k_img, self.v_img = Linear(sizes.dim, sizes.dim), Linear(sizes.dim, sizes.dim)
        self.norm_k_img = RMSNorm(sizes.dim, sizes.eps)

    def forward(self, context: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.norm_k_img(self.k_img(context)), self.v_img(context)


def _stacked(layers: nn.ModuleList, context: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    pairs = [cast(nn.ModuleDict, layer)["cross_attn"](context) for layer in layers]
    return torch.stack([key for key, _ in pairs]), torch.stack([value for _, value in pairs])


class TextContext(ExportModule):
    """text_rows [text_tokens, text_dim] -> text_keys, text_values [layers, text_tokens, dim]."""

    example_sizes: Mapping[str, int] = {}

    def __init__(self, sizes: DitSizes) -> None:
        super().__init__()
        self.text_embedding = nn.ModuleDict(
            {"0": Linear(sizes.text_dim, sizes.dim), "2": Linear(sizes.dim, sizes.dim)}
        )
        self.blocks = nn.ModuleList(
            nn.ModuleDict({"cross_attn": TextKeys(sizes)}) for _ in range(sizes.layers)
        )
        rows = (sizes.layers, sizes.text_tokens, sizes.dim)
        self.spec = GraphSpec(
            inputs=(TensorSpec("text_rows", "float32", (sizes.text_tokens, sizes.text_dim)),),
            outputs=(
                TensorSpec("text_keys", "float32", rows),
                TensorSpec("text_values", "float32", rows),
            ),
        )

    def embed(self, text_rows: torch.Tensor) -> torch.Tensor:
        """[n, text_dim] -> [n, dim]; rows of padding are embedded like any other."""
        hidden = F.gelu(self.text_embedding["0"](text_rows), approximate="tanh")
        result: torch.Tensor = self.text_embedding["2"](hidden)
        return result

    def forward(self, text_rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return _stacked(self.blocks, self.embed(text_rows))

    def rules(self) -> dict[str, WeightRule]:
        return default_rules(self)


class ImageContext(ExportModule):
    """image_features -> image_keys, image_values [layers, image_tokens, dim]."""

    example_sizes: Mapping[str, int] = {}

    def __init__(self, sizes: DitSizes, image: ImageSizes) -> None:
        super().__init__()
        self.img_emb = nn.ModuleDict(
            {
                "proj": nn.ModuleDict(
                    {
                        "0": nn.LayerNorm(image.dim, eps=1e-5),
                        "1": Linear(image.dim, image.dim),
                        "3": Linear(image.dim, sizes.dim),
                        "4": nn.LayerNorm(sizes.dim, eps=1e-5),
                    }
                )
            }
        )
        self.blocks = nn.ModuleList(
            nn.ModuleDict({"cross_attn": ImageKeys(sizes)}) for _ in range(sizes.layers)
        )
        rows = (sizes.layers, image.tokens, sizes.dim)
        features = (image.tokens, image.dim)
        self.spec = GraphSpec(
            inputs=(TensorSpec("image_features", "float32", features),),
            outputs=(
                TensorSpec("image_keys", "float32", rows),
                TensorSpec("image_values", "float32", rows),
            ),
        )

    def embed(self, image_features: torch.Tensor) -> torch.Tensor:
        """[image_tokens, image_dim] -> [image_tokens, dim]."""
        x = image_features
        for name, layer in cast(nn.ModuleDict, self.img_emb["proj"]).items():
            x = layer(x)
            if name == "1":
                x = F.gelu(x)
        return x

    def forward(self, image_features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return _stacked(self.blocks, self.embed(image_features))

    def rules(self) -> dict[str, WeightRule]:
        return default_rules(self)


class SegmentContext(ExportModule):
    """condition [20, frames, 2*rows, 2*columns] -> tokens: the time-invariant part of the patch
    embedding.

    A convolution is linear in its channels, so the 20 condition channels (4 mask, 16 latent) and
    the bias are embedded once.
    """

    example_sizes: Mapping[str, int] = {"frames": 3, "rows": 5, "columns": 6}

    def __init__(self, sizes: DitSizes) -> None:
        super().__init__()
        self.patch_embedding = Linear(4 * sizes.condition_channels, sizes.dim)
        self.noise_channels = sizes.latent_channels
        condition = (sizes.condition_channels, "frames", *_PLANE)
        self.spec = GraphSpec(
            inputs=(TensorSpec("condition", "float32", condition),),
            outputs=(TensorSpec("tokens", "float32", ("frames", "rows", "columns", sizes.dim)),),
        )

    def forward(self, condition: torch.Tensor) -> torch.Tensor:
        tokens: torch.Tensor = self.patch_embedding(patches(condition))
        return tokens

    def rules(self) -> dict[str, WeightRule]:
        return default_rules(self) | _condition_rule(self.noise_channels)


class PosedSegmentContext(ExportModule):
    """condition, pose_latents -> tokens, where pose is added to every frame but the reference's."""

    example_sizes: Mapping[str, int] = {"latents": 3, "rows": 5, "columns": 6}

    def __init__(self, sizes: DitSizes) -> None:
        super().__init__()
        self.patch_embedding = Linear(4 * sizes.condition_channels, sizes.dim)
        self.pose_patch_embedding = Linear(4 * sizes.latent_channels, sizes.dim)
        self.noise_channels = sizes.latent_channels
        condition = (sizes.condition_channels, "latents+1", *_PLANE)
        pose = (sizes.latent_channels, "latents", *_PLANE)
        self.spec = GraphSpec(
            inputs=(
                TensorSpec("condition", "float32", condition),
                TensorSpec("pose_latents", "float32", pose),
            ),
            outputs=(TensorSpec("tokens", "float32", ("latents+1", "rows", "columns", sizes.dim)),),
        )

    def forward(self, condition: torch.Tensor, pose_latents: torch.Tensor) -> torch.Tensor:
        tokens: torch.Tensor = self.patch_embedding(patches(condition))
        pose = self.pose_patch_embedding(patches(pose_latents))
        return torch.cat([tokens[:1], tokens[1:] + pose])

    def rules(self) -> dict[str, WeightRule]:
        rules = default_rules(self) | _condition_rule(self.noise_channels)
        rules["pose_patch_embedding.weight"] = WeightRule(
            ("pose_patch_embedding.weight",), patch_matrix
        )
        return rules


def _condition_rule(noise_channels: int) -> dict[str, WeightRule]:
    """The patch embedding's part for the condition: what follows the noise channels."""
    name = "patch_embedding.weight"
    return {name: WeightRule((name,), lambda kernel: patch_matrix(kernel[:, noise_channels:]))}
