"""A job as the scheduler sees it: runs of units that cost the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from wan_trt.engine.cursor import Cursor
from wan_trt.engine.request import ExpertName
from wan_trt.engine.scheduling.costs import CostKey
from wan_trt.engine.scheduling.unit import Stage

_BEGINNING = Cursor()


@dataclass(frozen=True)
class Run:
    """`units` units that follow each other, each of `passes` passes. `expert` is what must be in
    memory for them; None for conditioning and decoding."""

    key: CostKey
    units: int = 1
    passes: int = 1
    expert: ExpertName | None = None

    @property
    def stage(self) -> Stage:
        return self.key.stage


@dataclass(frozen=True)
class Submission:
    """A job that asks to be let in. `deadline_s` is on the caller's clock. `owner` is on whose
    account it goes. `priority` is a positive weight; `state_nbytes` what it occupies from its
    admission to its end."""

    job_id: str
    runs: Sequence[Run]
    owner: str = ""
    priority: float = 1.0
    deadline_s: float | None = None
    state_nbytes: int = 0

    def __post_init__(self) -> None:
        if not self.runs or any(run.units < 1 or run.passes < 1 for run in self.runs):
            raise ValueError(f"job {self.job_id}: runs with at least one unit, not {self.runs}")
        if not self.priority > 0:
            raise ValueError(f"job {self.job_id}: a positive priority, not {self.priority}")


def job_runs(
    segments: int,
    steps: Sequence[tuple[ExpertName, int]],
    key: Callable[[Stage, ExpertName | None], CostKey],
    at: Cursor = _BEGINNING,
) -> tuple[Run, ...]:
    """What is left of a job at a cursor. `steps` are expert and passes of each step of a segment;
    `key` says what a unit is measured as."""
    segment = [Run(key(Stage.CONDITIONING, None))]
    for (expert, passes), group in groupby(steps):
        segment.append(Run(key(Stage.DENOISE, expert), len(list(group)), passes, expert))
    segment.append(Run(key(Stage.DECODE, None)))
    left = _from(segment, at)
    return (*left, *segment * (segments - at.segment - 1))


def _from(segment: Sequence[Run], at: Cursor) -> list[Run]:
    """What is left of the cursor's own segment."""
    if at.stage is Stage.DECODE:
        return [segment[-1]]
    if at.stage is Stage.CONDITIONING:
        return list(segment)
    left, done = list(segment[1:]), at.step
    while done >= left[0].units:
        done -= left.pop(0).units
    return [replace(left[0], units=left[0].units - done), *left[1:]]
