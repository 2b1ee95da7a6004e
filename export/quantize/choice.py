"""What of a checkpoint becomes FP8 in one export: what a policy names, with ranges that fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from wan_trt.engine.models import ModelName
from wan_trt.engine.request import ExpertName
from wan_trt.export.expert_stack import ExpertStack
from wan_trt.export.graphs import BundlePlan
from wan_trt.export.options import ExportOptions
from wan_trt.export.quantize.origin import lora_uses
from wan_trt.export.quantize.policy import Policy, candidates
from wan_trt.export.quantize.rounding import Rounding
from wan_trt.export.quantize.scales import Scales, ScalesOrigin
from wan_trt.export.tensor_plan import WeightSource


@dataclass(frozen=True)
class Choice:
    """What is `rounded` by graph, and by which ranges."""

    policy: Policy
    rounded: Mapping[str, Rounding]
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
        self.scales.require(wanted, Rounding.of_all(self.rounded))

    def with_ranges(
        self, stacks: Mapping[ExpertName, ExpertStack]
    ) -> dict[ExpertName, ExpertStack]:
        """The stacks with the ranges of each expert, as float32 holds them, and what else was
        fitted."""
        return {
            expert: replace(stack, source=self._measured(stack.source, expert))
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

    def _measured(self, source: WeightSource, expert: ExpertName) -> WeightSource:
        ranges = {name: float(np.float32(x)) for name, x in self.scales.ranges[expert].items()}
        return replace(source, ranges=ranges, fitted=self.scales.fitted.get(expert, {}))


def choose(options: ExportOptions, contents: BundlePlan) -> Choice | None:
    """None at other precisions. Raises InputError for scales that cannot be read, and for a policy
    that does not fit the model."""
    if options.scales is None:
        return None
    policy = options.policy or Policy.read("wide")
    found = policy.apply(candidates(contents.expert), contents.geometry.layers)
    scales = options.scales
    return Choice(
        policy, found.rounded, scales if isinstance(scales, Scales) else Scales.read(scales)
    )
