"""A DiT without training that shows something: the reference, with the skeleton over it.

All tensors are random but for a path through the first `_FREE` channels of the residual stream,
into which the random branches write little:

    noisy patch | target patch | condition patch | zero | video frame? | constants ...

* The patch embeddings copy the noisy latents, the pose latents (brightened, so that black changes
  nothing) and the condition latents to their places.
* Head 0 of the first self-attention sees the same place in the reference frame, and nothing else,
  and adds the condition latents it finds there to the target.
* The output is a multiple of noisy - target: what flow matching calls the velocity towards it.

Constants of one size fill the rest, so that layer norms divide by about the same everywhere.
"""

from __future__ import annotations

import math

import torch

from wan_trt.export.synthetic.dit_shapes import dit_shapes
from wan_trt.export.synthetic.sizes import CheckpointSizes
from wan_trt.export.synthetic.structured_vae import COLOUR_SCALE
from wan_trt.export.synthetic.values import DIT, generator, random_tensor

_PATCH = 64  # 16 channels of 2x2 latent pixels, in the order of the head: row, column, channel
_NOISY, _TARGET, _CONDITION = (slice(i * _PATCH, (i + 1) * _PATCH) for i in range(3))
_ZERO, _VIDEO, _FREE = 3 * _PATCH, 3 * _PATCH + 1, 3 * _PATCH + 2
_CONSTANT = 4.0
_WHISPER = 0.02  # how loud random branches are on the path, next to elsewhere
_CONTRACTION = 1.4  # velocity over (noisy - target): good for four to eight steps
_POSE_GAIN = 2.5  # thin lines are faint where eight pixels share a colour
_FREQUENCIES = 6  # of each axis that tell places apart
_SHARPNESS = 10.0


def structured_dit(sizes: CheckpointSizes, seed: int = 0) -> dict[str, torch.Tensor]:
    """Values for the tensors that make the path; head_dim must be 128 and dim 256 or more."""
    if sizes.head_dim != 128 or sizes.dim < 256:
        raise ValueError(f"dim {sizes.dim} with {sizes.heads} heads has no room for the path")
    deviation = math.sqrt((1 - _FREE / sizes.dim) * _CONSTANT**2 + 3 * _PATCH / sizes.dim)
    tensors = _quiet_branches(sizes, seed) | _embeddings(sizes, seed)
    tensors |= _copying_head(sizes, seed, deviation)
    head = torch.zeros(_PATCH, sizes.dim)
    head[:, _NOISY] = torch.eye(_PATCH) * deviation * _CONTRACTION
    head[:, _TARGET] = -head[:, _NOISY]
    tensors |= {"head.head.weight": head, "head.head.bias": torch.zeros(_PATCH)}
    tensors["head.modulation"] = torch.zeros(1, 2, sizes.dim)
    return tensors


def _quiet_branches(sizes: CheckpointSizes, seed: int) -> dict[str, torch.Tensor]:
    """What ends a residual branch, weakened on the path; and little dependence on time."""
    ends = ("self_attn.o", "cross_attn.o", "ffn.2")
    names = [f"blocks.{i}.{end}" for i in range(sizes.layers) for end in ends]
    names += [f"face_adapter.fuser_blocks.{i}.linear2" for i in range(sizes.face_layers)]
    shapes = dit_shapes(sizes)
    tensors = {}
    for name in (f"{module}.{part}" for module in names for part in ("weight", "bias")):
        tensors[name] = random_tensor(name, shapes[name], DIT, seed) / 2
        tensors[name][:_FREE] *= 2 * _WHISPER
    for name in ("time_embedding.2.weight", "time_projection.1.weight"):
        tensors[name] = random_tensor(name, shapes[name], DIT, seed) * _WHISPER
    for name in ("time_embedding.2.bias", "time_projection.1.bias"):
        tensors[name] = torch.zeros(shapes[name])
    return tensors


def _embeddings(sizes: CheckpointSizes, seed: int) -> dict[str, torch.Tensor]:
    channels = sizes.latent_channels
    place = torch.eye(_PATCH).reshape(_PATCH, 2, 2, channels).permute(0, 3, 1, 2).unsqueeze(2)
    patch = torch.zeros(sizes.dim, channels + sizes.condition_channels, 1, 2, 2)
    patch[_NOISY, :channels] = place
    patch[_CONDITION, -channels:] = place
    constants = torch.zeros(sizes.dim)
    signs = torch.randn(sizes.dim - _FREE, generator=generator(f"{seed}/constants")).sign()
    constants[_FREE:] = _CONSTANT * signs
    pose = torch.zeros(sizes.dim, channels, 1, 2, 2)
    pose[_TARGET] = place * _POSE_GAIN
    brightening = torch.zeros(sizes.dim)
    brightening[_TARGET] = COLOUR_SCALE * _POSE_GAIN
    brightening[_VIDEO] = 1
    return {
        "patch_embedding.weight": patch,
        "patch_embedding.bias": constants,
        "pose_patch_embedding.weight": pose,
        "pose_patch_embedding.bias": brightening,
    }


def _copying_head(sizes: CheckpointSizes, seed: int, deviation: float) -> dict[str, torch.Tensor]:
    """Head 0 of block 0. Its queries and keys are constants, which rotation turns into a function
    of the distance in rows and columns; a key is low in all frames but the reference."""
    shapes, block = dit_shapes(sizes), "blocks.0.self_attn"
    tensors = {
        name: random_tensor(name, shapes[name], DIT, seed)
        for name in (f"{block}.{m}.{part}" for m in "qkvo" for part in ("weight", "bias"))
    }
    head = slice(0, sizes.head_dim)
    for m in "qkv":
        tensors[f"{block}.{m}.weight"][head] = 0
        tensors[f"{block}.{m}.bias"][head] = 0
    # all heads' keys share one norm: were the others not constants, near places could win over
    # the same place by a longer key
    tensors[f"{block}.k.weight"][:] = 0
    tensors[f"{block}.k.bias"][sizes.head_dim :] *= 10
    axis_pairs = sizes.head_dim // 2 // 3
    time_pairs = sizes.head_dim // 2 - 2 * axis_pairs
    places = [
        2 * (first + i)
        for first in (time_pairs, time_pairs + axis_pairs)
        for i in range(_FREQUENCIES)
    ]
    frame = 2 * (time_pairs - 1)  # the pair that hardly turns
    for m in "qk":
        tensors[f"{block}.{m}.bias"][places] = 1
        sharp = random_tensor(f"{block}.norm_{m}.weight", (sizes.dim,), DIT, seed)
        sharp[[*places, frame]] = _SHARPNESS
        tensors[f"{block}.norm_{m}.weight"] = sharp
    tensors[f"{block}.q.bias"][frame] = 1
    # minus the channel that is zero: what the layer norm subtracts falls out
    tensors[f"{block}.k.weight"][frame, _VIDEO] = -deviation
    tensors[f"{block}.k.weight"][frame, _ZERO] = deviation
    tensors[f"{block}.v.weight"][:_PATCH, _CONDITION] = torch.eye(_PATCH) * deviation
    tensors[f"{block}.v.weight"][:_PATCH, _ZERO] = -deviation
    out = tensors[f"{block}.o.weight"] / 2
    out[:_FREE] *= 2 * _WHISPER
    out[:, head] = 0
    out[_TARGET, :_PATCH] = torch.eye(_PATCH)
    tensors[f"{block}.o.weight"] = out
    tensors[f"{block}.o.bias"] *= _WHISPER
    gates = torch.zeros(1, 6, sizes.dim)
    gates[:, 2] = 1
    return tensors | {"blocks.0.modulation": gates}
