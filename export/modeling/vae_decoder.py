"""vae_decoder_first, vae_decoder_next: normalised latents -> frames, latent by latent."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from wan_trt.engine.executor import GraphSpec, TensorSpec
from wan_trt.export.modeling.module import ExportModule, WeightRule
from wan_trt.export.modeling.vae_history import History, cache_specs, grid
from wan_trt.export.modeling.vae_layers import CausalConv, ChannelNorm, Conv, Middle, ResidualBlock
from wan_trt.export.modeling.vae_resampling import Upsample
from wan_trt.export.modeling.vae_rules import layer_rules
from wan_trt.export.modeling.vae_sizes import (
    LATENT_CHANNELS,
    LATENT_MEAN,
    LATENT_STD,
    PIXEL_CHANNELS,
    VaeSizes,
)


class VaeDecoder(ExportModule):
    """latents [16, 1, height, width] -> frames [3, 1 or 4, 8*height, 8*width] in [-1, 1].

    The first latent gives one frame and has no caches; all others give four and take the caches
    that the latent before them left. Latents are normalised as `VaeEncoder` gives them.
    """

    precise = True

    def __init__(self, sizes: VaeSizes, *, first: bool) -> None:
        super().__init__()
        scale = 1
        self.latents_in = Conv(LATENT_CHANNELS, LATENT_CHANNELS)
        channels = sizes.decoder[0].inputs
        self.conv_first = CausalConv(LATENT_CHANNELS, channels, scale, first=first)
        self.middle = Middle(channels, first=first)
        layers: list[nn.Module] = []
        for layer in sizes.decoder:
            if layer.resamples:
                layers.append(Upsample(layer, scale, first=first))
                scale *= 2
            else:
                layers.append(ResidualBlock(layer.inputs, layer.outputs, scale, first=first))
        self.layers = nn.ModuleList(layers)
        channels = sizes.decoder[-1].outputs
        self.head_norm = ChannelNorm(channels)
        self.head_conv = CausalConv(channels, PIXEL_CHANNELS, scale, first=first)

        latents = (LATENT_CHANNELS, 1, *grid(1))
        frames = (PIXEL_CHANNELS, 1 if first else sizes.temporal, *grid(scale))
        self.spec = GraphSpec(
            inputs=(
                TensorSpec("latents", "float32", latents),
                *(() if first else cache_specs(self, "cache_")),
            ),
            outputs=(
                TensorSpec("frames", "float32", frames),
                *cache_specs(self, "next_cache_"),
            ),
        )
        self.example_sizes = {"height": 3, "width": 5}

    def forward(self, latents: torch.Tensor, *caches: torch.Tensor) -> tuple[torch.Tensor, ...]:
        history = History(caches)
        x = self.conv_first(self.latents_in(latents), history)
        x = self.middle(x, history)
        for layer in self.layers:
            x = layer(x, history)
        x = self.head_conv(F.silu(self.head_norm(x)), history)
        return x.clamp(-1.0, 1.0), *history.left

    def rules(self) -> dict[str, WeightRule]:
        rules = layer_rules(self, "decoder.", layers="upsamples")
        rules["latents_in.weight"] = WeightRule(("conv2.weight",), _restoring_weight)
        rules["latents_in.bias"] = WeightRule(("conv2.weight", "conv2.bias"), _restoring_bias)
        return rules


def _restoring_weight(weight: torch.Tensor) -> torch.Tensor:
    """Of conv2 over latents * LATENT_STD + LATENT_MEAN, as one convolution over latents."""
    return weight * weight.new_tensor(LATENT_STD).reshape(1, -1, 1, 1, 1)


def _restoring_bias(weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return bias + weight.flatten(1) @ weight.new_tensor(LATENT_MEAN)
