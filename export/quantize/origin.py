"""What a checkpoint and its LoRA stacks are, as scales note it."""

from __future__ import annotations

from collections.abc import Mapping

from wan_trt.engine.request import ExpertName
from wan_trt.export.expert_stack import ExpertStack
from wan_trt.export.lora.spec import LoraStacks
from wan_trt.export.quantize.scales import LoraUse


def lora_uses(
    stacks: Mapping[ExpertName, ExpertStack], loras: LoraStacks
) -> dict[str, tuple[LoraUse, ...]]:
    """By expert: its files in the order in which they are folded, from what `stack_loras` made of
    `loras`."""
    own = {ExpertName.HIGH: loras.high, ExpertName.LOW: loras.low}
    return {
        expert.value: tuple(
            LoraUse(file.sha256, spec.strength, spec.alpha)
            for file, spec in zip(stack.files, (*loras.both, *own[expert]), strict=True)
        )
        for expert, stack in stacks.items()
    }
