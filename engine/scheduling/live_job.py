"""Where a job stands: what is left of it, and what it was promised."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from wan_trt.engine.request import ExpertName
from wan_trt.engine.scheduling.costs import Cost, CostTable
from wan_trt.engine.scheduling.timetable import Promise
from wan_trt.engine.scheduling.work import Run, Submission


class Hope(Enum):
    """What a job's due time means."""

    HARD = "its deadline"
    SOFT = "a time that would be decent"
    NONE = "its bound"


@dataclass(frozen=True)
class UnitOut:
    """A unit that was handed out: the `index`-th, expected to end at `ends_s`."""

    index: int
    cost: Cost
    passes: int
    ends_s: float


class LiveJob:
    """Between admission and end. Changed by the scheduler alone.

    A unit that is handed out (`out`) no longer counts as left. `number` counts submissions.
    `fifo_s` is what first come, first served would take from the arrival to the end, `bound_s` the
    time by which the job is done whatever comes; its promise is due then or, as long as there is
    hope, earlier. `load_s` is what one load of an expert costs, 0 where both are resident.
    """

    __slots__ = (
        "_costs",
        "_left",
        "_loads",
        "_position",
        "_unit",
        "arrival_s",
        "bound_s",
        "fifo_s",
        "hope",
        "index",
        "load_s",
        "number",
        "out",
        "promise",
        "queued",
        "run_s",
        "seconds",
        "submission",
        "weighted_s",
    )

    def __init__(
        self, submission: Submission, number: int, now: float, costs: CostTable, load_s: float
    ) -> None:
        self.submission = submission
        self.number = number
        self.arrival_s = now
        self.load_s = load_s
        self.index = 0
        self.out: UnitOut | None = None
        self.queued = 0
        self.hope = Hope.NONE
        self.fifo_s = self.bound_s = 0.0
        self._position = self._unit = 0
        self._costs: list[Cost] = [costs.cost(run.key) for run in submission.runs]
        self._left: dict[Cost, int] = {}
        for run, cost in zip(submission.runs, self._costs, strict=True):
            self._left[cost] = self._left.get(cost, 0) + run.units * run.passes
        self._loads = sum(run.expert is not None for run in submission.runs)
        self.price()
        self.promise = Promise(submission.job_id, number, 0.0, self.work_s)

    @property
    def job_id(self) -> str:
        return self.submission.job_id

    @property
    def run(self) -> Run:
        """What the next unit belongs to."""
        return self.submission.runs[self._position]

    @property
    def cost(self) -> Cost:
        """Of a pass of the next unit."""
        return self._costs[self._position]

    @property
    def unit_s(self) -> float:
        return self.cost.seconds * self.run.passes

    @property
    def work_s(self) -> float:
        """Remaining seconds, with a load for each run that needs an expert: if nothing comes
        between, no more than that is loaded."""
        return self.seconds + self._loads * self.load_s

    @property
    def following_expert(self) -> ExpertName | None:
        """The expert of the first run after this one that needs one."""
        for run in self.submission.runs[self._position + 1 :]:
            if run.expert is not None:
                return run.expert
        return None

    @property
    def ended(self) -> bool:
        """Whether nothing is left."""
        return self._position == len(self.submission.runs)

    def price(self) -> None:
        """Seconds as costs now are: `seconds` of all that is left, `run_s` of this run,
        `weighted_s` by priority."""
        self.seconds = sum(cost.seconds * passes for cost, passes in self._left.items())
        self.run_s = 0.0 if self.ended else (self.run.units - self._unit) * self.unit_s
        self.weighted_s = self.seconds / self.submission.priority

    def hand_out(self, ends_s: float) -> None:
        """The next unit goes out, and counts as left no more."""
        run, cost = self.run, self.cost
        self.out = UnitOut(self.index, cost, run.passes, ends_s)
        self.index += 1
        self._unit += 1
        self._left[cost] -= run.passes
        if not self._left[cost]:
            del self._left[cost]
        if self._unit == run.units:
            self._loads -= run.expert is not None
            self._position += 1
            self._unit = 0
        self.price()
