"""Made-up ranges for a checkpoint, with the origin that an FP8 export of it asks for."""

from __future__ import annotations

import random
from pathlib import Path

from wan_trt.engine.request import ExpertName
from wan_trt.export import graphs
from wan_trt.export.checkpoint import Checkpoint
from wan_trt.export.expert_stack import stack_loras
from wan_trt.export.lora.spec import LoraStacks
from wan_trt.export.options import ExportOptions
from wan_trt.export.outline import boundary_of
from wan_trt.export.quantize.origin import lora_uses
from wan_trt.export.quantize.policy import Policy, candidates
from wan_trt.export.quantize.rounding import Rounding
from wan_trt.export.quantize.scales import Scales, ScalesOrigin
from wan_trt.export.source_files import describe

_RANGES = 4.0, 32.0


def synthetic_scales(
    checkpoint: Path,
    loras: LoraStacks | None = None,
    policy: Policy | None = None,
    seed: int = 0,
    boundary: float | None = None,
) -> Scales:
    """Random ranges for what `policy` rounds (None: "wide"), other ones for each expert, for an
    export with this `boundary`. Hashes the checkpoint; measures nothing, and says so."""
    options = ExportOptions(loras or LoraStacks(), boundary)
    policy = policy or Policy.read("wide")
    opened = Checkpoint.open(checkpoint)
    contents = graphs.plan(opened)
    found = policy.apply(candidates(contents.expert), contents.geometry.layers)
    rounded = sorted(Rounding.of_all(found.rounded).inputs)
    sources = describe(opened.path, opened.files, {}, lambda _: None)
    numbers = random.Random(seed)
    return Scales(
        ScalesOrigin(
            model=opened.model,
            checkpoint={name: file.sha256 for name, file in sources.items()},
            loras=lora_uses(stack_loras(opened, contents, options), options.loras),
            boundary=boundary_of(options, opened),
            policy=policy.digest,
            method="made up",
            sampling={},
            inputs={},
            tools={},
        ),
        {expert: {name: numbers.uniform(*_RANGES) for name in rounded} for expert in ExpertName},
    )
