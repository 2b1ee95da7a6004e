"""What somebody chose of an export."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from wan_trt.engine.errors import InputError
from wan_trt.export.lora.spec import LoraStacks
from wan_trt.export.precision import Precision


@dataclass(frozen=True)
class ExportOptions:
    """`boundary`: the high-noise expert serves timesteps >= 1000 * boundary; None means what the
    checkpoint says, or else 0.9. `reuse`: bundles whose tensors are taken where they would be made
    again the same way; one that is replaced is so used anyway."""

    loras: LoraStacks = field(default_factory=LoraStacks)
    boundary: float | None = None
    allow_unmatched: bool = False
    precision: Precision = Precision.FP32
    reuse: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if self.boundary is not None and not 0.0 <= self.boundary <= 1.0:
            raise InputError(f"boundary is {self.boundary}", expected="a share between 0 and 1")
