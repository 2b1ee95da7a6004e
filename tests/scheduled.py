"""Jobs for schedulers: one size, one second a pass of everything, if not said otherwise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from wan_trt.engine.memory.footprint import VideoSize
from wan_trt.engine.request import ExpertName
from wan_trt.engine.scheduling.costs import CostKey, CostTable
from wan_trt.engine.scheduling.decision import Decision
from wan_trt.engine.scheduling.scheduler import Scheduler
from wan_trt.engine.scheduling.unit import Stage
from wan_trt.engine.scheduling.work import Run, Submission, job_runs

SIZE = VideoSize(480, 832, 77)
HIGH, LOW = ExpertName.HIGH, ExpertName.LOW


def key(stage: Stage, expert: ExpertName | None = None, size: VideoSize = SIZE) -> CostKey:
    engine = f"denoiser.{expert.value}" if expert else "vae"
    return CostKey(stage, engine, size, "fp8", "h100")


def table(seconds: float = 1.0) -> CostTable:
    """Every pass takes so long, until it is measured."""
    return CostTable(operations=lambda _: seconds, operations_per_s=1.0)


def runs(high: int = 1, low: int = 1, segments: int = 1) -> tuple[Run, ...]:
    """Conditioning, steps of each expert, decoding."""
    steps = [(HIGH, 1)] * high + [(LOW, 1)] * low
    return job_runs(segments, steps, key)


def units(count: int) -> tuple[Run, ...]:
    """So many units that need no expert."""
    return (Run(key(Stage.CONDITIONING), count),)


def submission(
    job_id: str,
    work: Sequence[Run],
    deadline_s: float | None = None,
    owner: str = "",
    priority: float = 1.0,
    state_nbytes: int = 0,
) -> Submission:
    return Submission(job_id, work, owner, priority, deadline_s, state_nbytes)


@dataclass
class Machine:
    """Does what the scheduler decides: each unit takes `seconds(decision)`, what was expected if
    not said otherwise, and a load `load_s` more."""

    scheduler: Scheduler
    load_s: float = 0.0
    now: float = 0.0
    seconds: Callable[[Decision], float] = lambda decision: decision.seconds
    finished: dict[str, float] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)

    def step(self) -> Decision | None:
        decision = self.scheduler.next(self.now)
        if decision is not None:
            self.decisions.append(decision)
            taken = self.seconds(decision)
            self.now += taken + (self.load_s if decision.load else 0.0)
            if not self.scheduler.done(decision, taken):
                self.finished[decision.job_id] = self.now
        return decision

    def run(self) -> list[str]:
        """To the end; job ids in the order of their units."""
        first = len(self.decisions)
        while self.step():
            pass
        return [decision.job_id for decision in self.decisions[first:]]

    @property
    def loads(self) -> int:
        return sum(decision.load is not None for decision in self.decisions)
