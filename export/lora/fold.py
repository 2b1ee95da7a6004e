"""Folding: a tensor source that hands out the model's weights with the deltas added, in fp32."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from wan_trt.export.lora import musubi
from wan_trt.export.lora.delta import Delta, LoraFile
from wan_trt.export.lora.spec import LoraSpec
from wan_trt.export.tensors import TensorSource


class FoldedTensors:
    """`base` with a stack of LoRA files folded in; deltas are computed when a tensor is read.

    `norm_ratios` fills as tensors are read: target -> |change| / |weight|, so that an adapter
    that is far too strong is seen.
    """

    def __init__(self, base: TensorSource, files: Sequence[LoraFile]) -> None:
        self._base = base
        self._deltas: dict[str, list[Delta]] = {}
        for file in files:
            for delta in file.deltas:
                self._deltas.setdefault(delta.target, []).append(delta)
        self.norm_ratios: dict[str, float] = {}

    @property
    def targets(self) -> Mapping[str, Sequence[Delta]]:
        """The changed tensors and their deltas, in the order of application."""
        return self._deltas

    def names(self) -> Iterable[str]:
        return self._base.names()

    def shape(self, name: str) -> tuple[int, ...]:
        return self._base.shape(name)

    def read(self, name: str) -> torch.Tensor:
        base = self._base.read(name)
        deltas = self._deltas.get(name)
        if not deltas:
            return base
        change = deltas[0].change(base)
        for delta in deltas[1:]:
            change = change + delta.change(base)
        norm = float(torch.linalg.vector_norm(base)) or 1.0
        self.norm_ratios[name] = float(torch.linalg.vector_norm(change)) / norm
        return base + change


def read_files(
    specs: Iterable[LoraSpec], model: TensorSource, *, allow_unmatched: bool = False
) -> tuple[LoraFile, ...]:
    """Read every file against the model. Raises LoraError for the first that does not fit."""
    return tuple(musubi.read(spec, model, allow_unmatched=allow_unmatched) for spec in specs)


def report(file: LoraFile, norm_ratios: Mapping[str, float]) -> dict[str, Any]:
    """What was done with every key of a file: JSON-ready, kept in the bundle."""
    return {
        "file": file.path,
        "sha256": file.sha256,
        "family": file.family,
        "strength": file.strength,
        "matched_keys": list(file.matched_keys),
        "unmatched_keys": list(file.unmatched_keys),
        "modules": {
            delta.target: {**delta.describe(), "norm_ratio": norm_ratios.get(delta.target)}
            for delta in file.deltas
        },
    }
