"""What of a checkpoint becomes FP8 in one export: a policy's linears, with ranges that fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from wan_trt.engine.errors import InputError
from wan_trt.engine.models import ModelName
from wan_trt.engine.request import ExpertName
from wan_trt.export.expert_stack import ExpertStack
from wan_trt.export.graphs import BundlePlan
from wan_trt.export.options import ExportOptions
from wan_trt.export.quantize.origin import lora_uses
from wan_trt.export.quantize.policy import Policy, candidates, flat
from wan_trt.export.quantize.scales import Scales, ScalesOrigin


@dataclass(frozen=True)
class Choice:
    """FP8 `linears` by graph, and the ranges of their inputs."""

    policy: Policy
    linears: Mapping[str, frozenset[str]]
    scales: Scales

    def require_made_for(
        self,
        model: ModelName,
        checkpoint: Mapping[str, str],
        stacks: Mapping[ExpertName, ExpertStack],
        options: ExportOptions,
        boundary: float,
    ) -> None:
        """Raise InputError unless the scales were measured on all this; `checkpoint` is sha256 by
        file."""
        wanted = replace(
            self.scales.origin,
            model=model,
            checkpoint=checkpoint,
            loras=lora_uses(stacks, options.loras),
            boundary=boundary,
            policy=self.policy.digest,
        )
        self.scales.require(wanted, flat(self.linears))

    def with_ranges(
        self, stacks: Mapping[ExpertName, ExpertStack]
    ) -> dict[ExpertName, ExpertStack]:
        """The stacks with the ranges of each expert, as float32 holds them."""
        return {
            expert: replace(stack, source=replace(stack.source, ranges=self._ranges(expert)))
            for expert, stack in stacks.items()
        }

    def record(self) -> dict[str, Any]:
        """For the manifest: the policy, and how its ranges came about."""
        origin: ScalesOrigin = self.scales.origin
        return {
            "policy": {"name": self.policy.name, "sha256": self.policy.digest},
            "scales": {
                "method": origin.method,
                "sampling": dict(origin.sampling),
                "inputs": dict(origin.inputs),
                "tools": dict(origin.tools),
            },
        }

    def _ranges(self, expert: ExpertName) -> dict[str, float]:
        return {name: float(np.float32(x)) for name, x in self.scales.ranges[expert].items()}


def choose(options: ExportOptions, contents: BundlePlan) -> Choice | None:
    """None at other precisions. Raises InputError for scales that cannot be read, and for a policy
    that does not fit the model or wants FP8 attention."""
    if options.scales is None:
        return None
    policy = options.policy or Policy.read("wide")
    found = policy.apply(candidates(contents.expert), contents.geometry.layers)
    if found.attention:
        raise InputError(
            f"the policy {policy.name} wants FP8 attention in {len(found.attention)} blocks",
            expected="FP8 linears only: this version cannot export FP8 attention",
            action="leave [[attention]] out, or set it to high",
            field="policy",
        )
    scales = options.scales
    return Choice(
        policy, found.linears, scales if isinstance(scales, Scales) else Scales.read(scales)
    )
