"""vae_encoder_first, vae_encoder_next: frames -> normalised latents, chunk by chunk."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from wan_trt.engine.executor import GraphSpec, TensorSpec
from wan_trt.export.modeling.module import ExportModule, WeightRule
from wan_trt.export.modeling.vae_history import History, cache_specs, grid
from wan_trt.export.modeling.vae_layers import CausalConv, ChannelNorm, Conv, Middle, ResidualBlock
from wan_trt.export.modeling.vae_resampling import Downsample
from wan_trt.export.modeling.vae_rules import layer_rules
from wan_trt.export.modeling.vae_sizes import (
    LATENT_CHANNELS,
    LATENT_MEAN,
    LATENT_STD,
    PIXEL_CHANNELS,
    VaeSizes,
)


class VaeEncoder(ExportModule):
    """frames [3, 1 or 4, 8*height, 8*width] in [-1, 1] -> latents [16, 1, height, width].

    The first chunk is one frame and has no caches; all others are four frames and take the caches
    that the chunk before them left. Latents are (mean of the posterior - LATENT_MEAN) / LATENT_STD;
    its variance is never computed.
    """

    precise = True

    def __init__(self, sizes: VaeSizes, *, first: bool) -> None:
        super().__init__()
        scale = sizes.spatial
        self.conv_first = CausalConv(PIXEL_CHANNELS, sizes.encoder[0].inputs, scale, first=first)
        layers: list[nn.Module] = []
        for layer in sizes.encoder:
            if layer.resamples:
                scale //= 2
                layers.append(Downsample(layer, scale, first=first))
            else:
                layers.append(ResidualBlock(layer.inputs, layer.outputs, scale, first=first))
        self.layers = nn.ModuleList(layers)
        channels = sizes.encoder[-1].outputs
        self.middle = Middle(channels, first=first)
        self.head_norm = ChannelNorm(channels)
        self.head_conv = CausalConv(channels, 2 * LATENT_CHANNELS, scale, first=first)
        self.latents_out = Conv(2 * LATENT_CHANNELS, LATENT_CHANNELS)

        frames = (PIXEL_CHANNELS, 1 if first else sizes.temporal, *grid(sizes.spatial))
        latents = (LATENT_CHANNELS, 1, *grid(1))
        self.spec = GraphSpec(
            inputs=(
                TensorSpec("frames", "float32", frames),
                *(() if first else cache_specs(self, "cache_")),
            ),
            outputs=(
                TensorSpec("latents", "float32", latents),
                *cache_specs(self, "next_cache_"),
            ),
        )
        self.example_sizes = {"height": 3, "width": 5}

    def forward(self, frames: torch.Tensor, *caches: torch.Tensor) -> tuple[torch.Tensor, ...]:
        history = History(caches)
        x = self.conv_first(frames, history)
        for layer in self.layers:
            x = layer(x, history)
        x = self.middle(x, history)
        x = self.head_conv(F.silu(self.head_norm(x)), history)
        return self.latents_out(x), *history.left

    def rules(self) -> dict[str, WeightRule]:
        rules = layer_rules(self, "encoder.", layers="downsamples")
        rules["latents_out.weight"] = WeightRule(("conv1.weight",), _normalising_weight)
        rules["latents_out.bias"] = WeightRule(("conv1.bias",), _normalising_bias)
        return rules


def _normalising_weight(weight: torch.Tensor) -> torch.Tensor:
    """The rows that give the posterior's mean, divided by LATENT_STD."""
    return weight[:LATENT_CHANNELS] / weight.new_tensor(LATENT_STD).reshape(-1, 1, 1, 1, 1)


def _normalising_bias(bias: torch.Tensor) -> torch.Tensor:
    return (bias[:LATENT_CHANNELS] - bias.new_tensor(LATENT_MEAN)) / bias.new_tensor(LATENT_STD)
