"""How far a variant's numbers are from float32's, on few tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from roofline.denoiser import Denoiser, Inputs
from roofline.results import Stage
from roofline.variant import computing_in


@dataclass(frozen=True)
class Outputs:
    """What is compared: what the first block adds to its input, and the velocity."""

    block: torch.Tensor
    velocity: torch.Tensor


def reference(model: Denoiser, inputs: Inputs) -> Outputs:
    """In float32 throughout, TF32 off; weights are the bfloat16 ones."""
    with computing_in(model, torch.float32):
        return outputs(model, inputs)


def outputs(model: Denoiser, inputs: Inputs) -> Outputs:
    with torch.inference_mode():
        x, time, _ = model.begin(inputs)
        return Outputs(model.layer(0, x, time, inputs) - x, model(inputs))


def errors(found: Outputs, reference: Outputs) -> dict[Stage, float]:
    return {
        Stage.BLOCK: relative(found.block, reference.block),
        Stage.FORWARD: relative(found.velocity, reference.velocity),
    }


def relative(found: torch.Tensor, reference: torch.Tensor) -> float:
    """|found - reference| / |reference|, Euclidean."""
    difference = (found.float() - reference.float()).norm()
    return float(difference / reference.float().norm())
