"""How the parameters of the VAE's layers come from the checkpoint of Wan2.1_VAE.pth."""

from __future__ import annotations

import math

import torch
from torch import nn

from wan_trt.export.modeling.module import Linear, WeightRule
from wan_trt.export.modeling.vae_layers import ChannelNorm, Conv, DoublingConv

# our attribute -> the checkpoint's; what is not here is spelled alike
_SPELLING = {
    "conv_first": "conv1",
    "norm_in": "residual.0",
    "conv_in": "residual.2",
    "norm_out": "residual.3",
    "conv_out": "residual.6",
    "space": "resample.1",
    "time": "time_conv",
    "block_in": "0",
    "attention": "1",
    "block_out": "2",
    "qkv": "to_qkv",
    "projection": "proj",
    "head_norm": "head.0",
    "head_conv": "head.2",
}
_WITHOUT_NAME = "conv"  # of a CausalConv


def layer_rules(side: nn.Module, prefix: str, layers: str) -> dict[str, WeightRule]:
    """A rule for every parameter of one side of the VAE.

    `prefix` is the side's in the checkpoint, `layers` the name there of what is `layers` here.
    """
    rules = {}
    spelling = {**_SPELLING, "layers": layers}
    for name, child in side.named_modules():
        parts = (spelling.get(part, part) for part in name.split(".") if part != _WITHOUT_NAME)
        source = prefix + ".".join(parts)
        if isinstance(child, ChannelNorm):
            rules[f"{name}.gain"] = WeightRule((f"{source}.gamma",), _gain)
        elif isinstance(child, DoublingConv):
            rules[f"{name}.weight"] = WeightRule((f"{source}.weight",), _phases)
            rules[f"{name}.bias"] = WeightRule((f"{source}.bias",), _bias_of_phases)
        elif isinstance(child, Conv):
            make = _last_tap if child.weight.shape[2] == 1 else _all_taps
            rules[f"{name}.weight"] = WeightRule((f"{source}.weight",), make)
            rules[f"{name}.bias"] = WeightRule((f"{source}.bias",))
        elif isinstance(child, Linear):
            rules[f"{name}.weight"] = WeightRule((f"{source}.weight",), _from_pointwise)
            rules[f"{name}.bias"] = WeightRule((f"{source}.bias",))
    return rules


def _gain(gamma: torch.Tensor) -> torch.Tensor:
    return gamma.reshape(-1, 1, 1, 1) * math.sqrt(gamma.numel())


def _all_taps(kernel: torch.Tensor) -> torch.Tensor:
    return kernel


def _last_tap(kernel: torch.Tensor) -> torch.Tensor:
    """[out, in, (time,) rows, columns] -> [out, in, 1, rows, columns]: the present frame's."""
    return kernel.unsqueeze(2) if kernel.dim() == 4 else kernel[:, :, -1:]


def _from_pointwise(kernel: torch.Tensor) -> torch.Tensor:
    """[out, in, 1, 1] of a convolution -> [in, out] of `Linear`."""
    return kernel.flatten(1).t()


def _phases(kernel: torch.Tensor) -> torch.Tensor:
    """[out, in, 3, 3] over a picture with doubled pixels -> [4*out, in, 1, 2, 2] over the small.

    An even output pixel sees the small pixel before its own through the first tap and its own
    through the other two; an odd one its own through the first two and the next through the last.
    """
    even = kernel.new_tensor([[1, 0, 0], [0, 1, 1]])
    odd = kernel.new_tensor([[1, 1, 0], [0, 0, 1]])
    phases = [
        torch.einsum("oirc,yr,xc->oiyx", kernel, rows, columns)
        for rows in (even, odd)
        for columns in (even, odd)
    ]
    return torch.cat(phases).unsqueeze(2)


def _bias_of_phases(bias: torch.Tensor) -> torch.Tensor:
    return bias.repeat(4)
