"""Where a job stands: pure arithmetic over segments, stages and steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from wan_trt.engine.scheduling.unit import Stage


@dataclass(frozen=True)
class Cursor:
    """The next unit of work of a job: a segment is conditioned, denoised, decoded; after the last
    one the result is finished."""

    segment: int = 0
    stage: Stage = Stage.CONDITIONING
    step: int = 0

    def following(self, segments: int, steps: int) -> Cursor | None:
        """What comes after this unit; None after the last."""
        match self.stage:
            case Stage.CONDITIONING:
                return replace(self, stage=Stage.DENOISE)
            case Stage.DENOISE if self.step + 1 < steps:
                return replace(self, step=self.step + 1)
            case Stage.DENOISE:
                return replace(self, stage=Stage.DECODE)
            case Stage.DECODE:
                last = self.segment + 1 == segments
                return replace(self, stage=Stage.RESULT) if last else Cursor(self.segment + 1)
            case Stage.RESULT:
                return None

    @property
    def entry(self) -> Cursor:
        """The unit to begin with where this one shall be next and nothing is in memory: steps need
        their segment's condition, which is not kept."""
        return Cursor(self.segment) if self.stage is Stage.DENOISE else self

    def remaining(self, segments: int, passes: Sequence[int]) -> Mapping[Stage, int]:
        """Passes of each stage from this unit on, itself included. `passes` are those of the
        network in each denoising step of a segment."""
        if self.stage is Stage.RESULT:
            return {Stage.RESULT: 1}
        after = segments - self.segment - 1
        here = 0 if self.stage is Stage.DECODE else sum(passes[self.step :])
        return {
            Stage.CONDITIONING: after + (self.stage is Stage.CONDITIONING),
            Stage.DENOISE: after * sum(passes) + here,
            Stage.DECODE: after + 1,
            Stage.RESULT: 1,
        }
