"""What the engine does between two decisions."""

from __future__ import annotations

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
