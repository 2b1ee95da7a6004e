"""Which job's next unit of work runs: decided over plain values, without clock or tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from wan_trt.engine.request import Step


class Stage(StrEnum):
    """What a unit of work does; the name appears in events."""

    CONDITIONING = "conditioning"
    DENOISE = "denoise"
    DECODE = "decode"
    RESULT = "result"


@dataclass(frozen=True)
class Unit:
    """The next thing to do for one job: the smallest piece of work between two decisions.

    `step` is set for denoising: with it a scheduler knows the expert and the timestep.
    """

    job_id: str
    stage: Stage
    segment: int
    step: Step | None = None


class Scheduler:
    """First come, first served: a job runs to its end before the next one starts."""

    def next(self, units: Sequence[Unit]) -> Unit | None:
        """The unit to run, out of one for each live job in the order of their arrival."""
        return units[0] if units else None
