"""The experts' DiTs with their LoRA stacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wan_trt.engine.request import ExpertName
from wan_trt.export.checkpoint import Checkpoint
from wan_trt.export.graphs import BundlePlan
from wan_trt.export.lora.fold import FoldedTensors, read_stacks
from wan_trt.export.lora.match import LoraFile
from wan_trt.export.lora.report import report
from wan_trt.export.options import ExportOptions
from wan_trt.export.tensor_plan import WeightSource


@dataclass(frozen=True)
class ExpertStack:
    """An expert's DiT with its LoRA files folded in."""

    source: WeightSource
    files: tuple[LoraFile, ...]


def stack_loras(
    checkpoint: Checkpoint, contents: BundlePlan, options: ExportOptions
) -> dict[ExpertName, ExpertStack]:
    """Each expert's files on its DiT. A key that no expert's graph would show is unmatched.
    Raises LoraError."""
    models = {expert: checkpoint.experts[expert].tensors for expert in ExpertName}
    stacks = read_stacks(
        options.loras,
        models,
        foldable=contents.expert_tensors,
        allow_unmatched=options.allow_unmatched,
    )
    return {
        expert: ExpertStack(
            WeightSource(checkpoint.part(models[expert]), FoldedTensors(models[expert], files)),
            files,
        )
        for expert, files in stacks.items()
    }


def reports(stacks: Mapping[ExpertName, ExpertStack]) -> list[dict[str, Any]]:
    """What was done with every key of every file, for each expert; JSON-ready."""
    return [
        {"expert": expert.value, **report(file, norms)}
        for expert, stack in stacks.items()
        for file, norms in zip(stack.files, stack.source.tensors.norms, strict=True)
    ]
