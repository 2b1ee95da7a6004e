"""Which parameters a bundle stores in fewer bits than float32.

At bf16 the matrices of linears and embeddings are bfloat16, as the checkpoints have them; norms,
biases, modulation and convolutions stay float32, and so do the VAE and the motion encoder whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import torch
from torch import nn

from wan_trt.export.modeling.module import ExportModule, Linear

FLOAT32 = "float32"
BFLOAT16 = "bfloat16"

TORCH_DTYPES: Mapping[str, torch.dtype] = {FLOAT32: torch.float32, BFLOAT16: torch.bfloat16}


class Precision(StrEnum):
    """Of stored weights."""

    FP32 = "fp32"
    BF16 = "bf16"


def stored_dtypes(module: ExportModule, precision: Precision) -> dict[str, str]:
    """What each parameter of a module is stored as."""
    matrices = {
        f"{name}.weight"
        for name, child in module.named_modules()
        if isinstance(child, Linear | nn.Embedding)
    }
    narrow = set() if precision is Precision.FP32 or module.precise else matrices
    return {name: BFLOAT16 if name in narrow else FLOAT32 for name in module.state_dict()}
