"""A VAE without training that shows something: it keeps the mean colour of every 8x8 pixels.

Residual branches add nothing, so a picture's colours travel along the shortcuts. Two tricks make
the rest of the network linear. SiLU(a) - SiLU(-a) = a, so each colour travels with its negative;
and the norm that divides by the vector's length divides by a constant, because a large constant
travels along.
"""

from __future__ import annotations

import torch

from wan_trt.export.modeling.vae_sizes import LATENT_CHANNELS, LATENT_MEAN, LATENT_STD
from wan_trt.export.synthetic.dit_shapes import Shape
from wan_trt.export.synthetic.encoder_shapes import vae_shapes
from wan_trt.export.synthetic.sizes import CheckpointSizes

# A latent is this times a colour in [-1, 1], which gives it about the variance of noise.
COLOUR_SCALE = 1.2

_COLOURS = 3
_CONSTANT = 2 * _COLOURS  # channel; those before it are the colours and their negatives
_CONSTANT_VALUE = 8.0


def structured_vae(sizes: CheckpointSizes) -> dict[str, torch.Tensor]:
    """Values for every tensor of Wan2.1_VAE.pth that is not to be random; vae_dim is 7 or more."""
    if sizes.vae_dim <= _CONSTANT:
        raise ValueError(f"vae_dim {sizes.vae_dim} has no room for {_CONSTANT + 1} channels")
    tensors = {}
    for name, shape in vae_shapes(sizes).items():
        if "residual.2" in name or "to_qkv" in name:
            continue  # inside the branches that add nothing
        tensors[name] = torch.ones(shape) if name.endswith("gamma") else torch.zeros(shape)
        if name.endswith("weight"):
            tensors[name] = _linear_path(name, shape)
    tensors["encoder.conv1.bias"][_CONSTANT] = _CONSTANT_VALUE
    mean, std = torch.tensor(LATENT_MEAN), torch.tensor(LATENT_STD)
    for channel in range(LATENT_CHANNELS):
        tensors["conv1.weight"][channel, channel % _COLOURS] = COLOUR_SCALE * std[channel]
    tensors["conv1.bias"][:LATENT_CHANNELS] = mean
    for colour in range(_COLOURS):
        of_colour = torch.arange(colour, LATENT_CHANNELS, _COLOURS)
        row = torch.zeros(LATENT_CHANNELS)
        row[of_colour] = 1 / (COLOUR_SCALE * std[of_colour] * len(of_colour))
        for target, sign in ((colour, 1), (colour + _COLOURS, -1)):
            tensors["conv2.weight"][target, :, 0, 0, 0] = sign * row
            tensors["conv2.bias"][target] = -sign * float(row @ mean)
    tensors["conv2.bias"][_CONSTANT] = _CONSTANT_VALUE
    return tensors


def _linear_path(name: str, shape: Shape) -> torch.Tensor:
    """A convolution that hands channels on, averaging over pixels or frames where it resamples."""
    weight = torch.zeros(shape)
    outputs, inputs = shape[:2]
    same = torch.eye(outputs, inputs)
    if "head.2" in name:
        gain = _CONSTANT_VALUE / inputs**0.5
        for colour in range(_COLOURS):
            weight[colour, colour, -1, 1, 1] = gain
            weight[colour, colour + _COLOURS, -1, 1, 1] = -gain
    elif "time_conv" in name and "downsamples" in name:
        weight[:, :, :, 0, 0] = same[:, :, None] * torch.tensor([0.25, 0.5, 0.25])
    elif "time_conv" in name:  # the earlier of two frames stands between two latents
        halves = (torch.tensor([0.0, 0.5, 0.5]), torch.tensor([0.0, 0.0, 1.0]))
        for rows, taps in zip(weight.chunk(2), halves, strict=True):
            rows[:, :, :, 0, 0] = torch.eye(inputs)[:, :, None] * taps
    elif "resample" in name and "downsamples" in name:
        weight[:, :, :2, :2] = same[:, :, None, None] / 4
    elif "resample" in name:
        line = torch.tensor([0.25, 0.5, 0.25])
        weight[:, :] = same[:, :, None, None] * torch.outer(line, line)
    elif "shortcut" in name:
        weight[:, :, 0, 0, 0] = same
    elif name == "encoder.conv1.weight":
        for colour in range(_COLOURS):
            weight[colour, colour, -1, 1, 1] = 1
            weight[colour + _COLOURS, colour, -1, 1, 1] = -1
    elif name == "decoder.conv1.weight":
        weight[:, :, -1, 1, 1] = same
    return weight
