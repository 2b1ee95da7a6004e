"""The settings of a request as somebody chose them; None leaves one to the model's default.

Defaults differ from model to model, and who asks a server need not know which model it serves.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from wan_trt.engine.request import Mode, Sampling, SolverName


@dataclass(frozen=True)
class SamplingChoices:
    steps: int | None = None
    solver: SolverName | None = None
    shift: float | None = None
    guidance: tuple[float, float] | None = None

    def over(self, default: Sampling) -> Sampling:
        """`default`, changed where something was chosen."""
        return Sampling(
            steps=default.steps if self.steps is None else self.steps,
            solver=default.solver if self.solver is None else self.solver,
            shift=default.shift if self.shift is None else self.shift,
            guidance=default.guidance if self.guidance is None else self.guidance,
        )


@dataclass(frozen=True)
class RequestChoices:
    """What is no medium of a request of any kind; see `AnimateRequest`, `ImageToVideoRequest`."""

    prompt: str | None = None
    negative_prompt: str | None = None
    sampling: SamplingChoices = field(default_factory=SamplingChoices)
    seed: int | None = None
    mode: Mode | None = None
    segment_frames: int | None = None
    overlap: int | None = None
    frames: int | None = None
    area: int | None = None
