"""Saves tensors as an adapter file and folds it into a model in memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from wan_trt.export.lora.fold import FoldedTensors, read_files
from wan_trt.export.lora.match import LoraFile
from wan_trt.export.lora.spec import LoraSpec
from wan_trt.export.tensors import MemoryTensors


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    """Normal float32 numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def fold_one(
    tensors: Mapping[str, torch.Tensor],
    model: MemoryTensors,
    folder: Path,
    *,
    strength: float = 1.0,
    alpha: float | None = None,
    config: Path | None = None,
    metadata: dict[str, str] | None = None,
    allow_unmatched: bool = False,
) -> tuple[FoldedTensors, LoraFile]:
    """The folded model, and what was made of the file."""
    path = folder / "lora.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata)
    spec = LoraSpec(path, strength, alpha, config)
    (file,) = read_files([spec], model, allow_unmatched=allow_unmatched)
    return FoldedTensors(model, [file]), file
