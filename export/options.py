"""What somebody chose of an export."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from wan_trt.engine.errors import InputError
from wan_trt.export.lora.spec import LoraStacks
from wan_trt.export.precision import Precision
from wan_trt.export.quantize.policy import Policy
from wan_trt.export.quantize.scales import Scales


@dataclass(frozen=True)
class ExportOptions:
    """`boundary`: the high-noise expert serves timesteps >= 1000 * boundary; None means what the
    checkpoint says, or else 0.9. `reuse`: bundles whose tensors are taken where they would be made
    again the same way; one that is replaced is so used anyway. FP8 needs `scales`, or the file
    with them; `policy` says what is FP8, None means "wide". Raises InputError for what
    does not go together."""

    loras: LoraStacks = field(default_factory=LoraStacks)
    boundary: float | None = None
    allow_unmatched: bool = False
    precision: Precision = Precision.FP32
    reuse: tuple[Path, ...] = ()
    scales: Scales | Path | None = None
    policy: Policy | None = None

    def __post_init__(self) -> None:
        if self.boundary is not None and not 0.0 <= self.boundary <= 1.0:
            raise InputError(f"boundary is {self.boundary}", expected="a share between 0 and 1")
        fp8 = self.precision is Precision.FP8
        if fp8 and self.scales is None:
            raise InputError(
                "precision fp8 without scales",
                expected="the ranges of the FP8 linears' inputs",
                action="make them with `wan-trt calibrate`",
                field="scales",
            )
        for name, value in (("scales", self.scales), ("policy", self.policy)):
            if not fp8 and value is not None:
                raise InputError(
                    f"{name} at precision {self.precision.value}",
                    expected="precision fp8",
                    action="set it, or leave it out",
                    field=name,
                )
