"""Which parameters a bundle stores in fewer bits than float32.

At bf16 the matrices of linears and embeddings are bfloat16, as the checkpoints have them; norms,
biases, modulation and convolutions stay float32, and so do the VAE and the motion encoder whole.
fp8 is bf16 but for the linears that a policy names: their matrices are E4M3, with scales. What
enters those of the denoiser, and what FP8 attention reads, is rounded to E4M3 by scales that are
parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import torch
from torch import nn

from wan_trt.export.modeling.module import ExportModule, Linear
from wan_trt.export.quantize.e4m3_nodes import input_scale, weight_scale
from wan_trt.export.quantize.rounding import NOTHING, Rounding

FLOAT32 = "float32"
BFLOAT16 = "bfloat16"
FLOAT8 = "float8_e4m3fn"

TORCH_DTYPES: Mapping[str, torch.dtype] = {
    FLOAT32: torch.float32,
    BFLOAT16: torch.bfloat16,
    FLOAT8: torch.float8_e4m3fn,
}


class Precision(StrEnum):
    """Of stored weights."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP8 = "fp8"


def stored_dtypes(
    module: ExportModule, precision: Precision, rounded: Rounding = NOTHING
) -> dict[str, str]:
    """What each parameter of a module is stored as, the scales of what is `rounded` included."""
    matrices = {
        f"{name}.weight"
        for name, child in module.named_modules()
        if isinstance(child, Linear | nn.Embedding)
    }
    narrow = set() if precision is Precision.FP32 or module.precise else matrices
    dtypes = {name: BFLOAT16 if name in narrow else FLOAT32 for name in module.state_dict()}
    for linear in rounded.weights:
        dtypes |= {f"{linear}.weight": FLOAT8, weight_scale(linear): FLOAT32}
    return dtypes | {input_scale(name): FLOAT32 for name in rounded.inputs}
