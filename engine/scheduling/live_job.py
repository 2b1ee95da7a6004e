"""Where a job stands: what is left of it, and what it was promised."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from wan_trt.engine.request import ExpertName
from wan_trt.engine.scheduling.costs import Cost, CostTable
from wan_trt.engine.scheduling.timetable import Promise
from wan_trt.engine.scheduling.unit import Stage
from wan_trt.engine.scheduling.work import Run, Submission


class Hope(Enum):
    """What a job's due time means."""

    HARD = "its deadline"
    SOFT = "a time that would be decent"
    NONE = "its bound"


class Coding(Enum):
    """What a unit needs that needs no expert."""

    FIRST = "room for a job's state: it has none yet"
    LATER = "nothing that the job has not"


Kind = ExpertName | Coding
"""What a unit needs."""

Passes = dict[Cost, int]
"""Work, whatever it costs."""


def add_passes(passes: Passes, more: Passes) -> None:
    for cost, count in more.items():
        passes[cost] = passes.get(cost, 0) + count


def take_passes(passes: Passes, less: Passes) -> None:
    """What is none is left out: sizes come and go."""
    for cost, count in less.items():
        passes[cost] -= count
        if not passes[cost]:
            del passes[cost]


def seconds_of(passes: Passes) -> float:
    return sum(cost.seconds * count for cost, count in passes.items())


@dataclass(frozen=True)
class UnitOut:
    """A unit that was handed out: the `index`-th, expected to end at `ends_s`."""

    index: int
    cost: Cost
    passes: int
    began_s: float
    ends_s: float


@dataclass(frozen=True)
class Held:
    """Without turns since every lane was free at `free_s`, and `slip_s` had slipped for all."""

    free_s: float
    slip_s: float


class LiveJob:
    """Between admission and end. Changed by the scheduler alone.

    A unit that is handed out (`out`) no longer counts as left. `number` counts submissions, `moves`
    how often the job was put into a queue and taken out.
    `fifo_s` is what first come, first served would take from the arrival to the end: it is
    remembered as work, so it follows costs that change. `bound_s` is the time by which the job is
    done whatever comes; its promise is due then or, as long as there is hope, at `hoped_s`.
    `slipped_s` is how much longer than expected units have taken since the arrival, `held_s` how
    long the job was held, `load_s` what one load of an expert costs, 0 where both are resident.
    """

    __slots__ = (
        "_ahead",
        "_ahead_s",
        "_costs",
        "_position",
        "_unit",
        "arrival_s",
        "bound",
        "fifo_s",
        "held",
        "held_s",
        "hope",
        "hoped_s",
        "index",
        "left",
        "load_s",
        "loads",
        "moves",
        "number",
        "out",
        "promise",
        "run_s",
        "seconds",
        "slipped_s",
        "submission",
        "tag",
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
        self.held: Held | None = None
        self.moves = 0
        self.slipped_s = 0.0
        self.held_s = 0.0
        self.tag = 0.0
        self.hope = Hope.NONE
        self.hoped_s = math.inf
        self._position = self._unit = 0
        self._costs: list[Cost] = [costs.cost(run.key) for run in submission.runs]
        self.left: Passes = {}
        for run, cost in zip(submission.runs, self._costs, strict=True):
            self.left[cost] = self.left.get(cost, 0) + run.units * run.passes
        self.loads = sum(run.expert is not None for run in submission.runs)
        self.bound = 1.0
        self._ahead: Passes = {}
        self._ahead_s = 0.0
        self.price()
        self.promise = Promise(submission.job_id, number, self.due_s, self.work_s)

    def bind(self, bound: float, passes: Passes, seconds: float) -> None:
        """Promise to end within `bound` times what first come, first served would take: what is
        ahead of the job, passes and seconds, and its own work."""
        self.bound = bound
        self._ahead = passes.copy()
        add_passes(self._ahead, self.left)
        self._ahead_s = seconds + self.loads * self.load_s
        self.price()
        self.promise.due_s = self.due_s

    def give_hope(self, hope: Hope, due_s: float, reserve_s: float = 0.0) -> None:
        """Promise more than the bound; the promise is in no timetable yet."""
        self.hope, self.hoped_s = hope, due_s
        self.promise.due_s, self.promise.reserve_s = self.due_s, reserve_s

    @property
    def job_id(self) -> str:
        return self.submission.job_id

    @property
    def queued(self) -> bool:
        """Whether its next unit may be handed out."""
        return self.moves % 2 == 1

    @property
    def run(self) -> Run:
        """What the next unit belongs to."""
        return self.submission.runs[self._position]

    @property
    def kind(self) -> Kind:
        """What the next unit needs."""
        return self.run.expert or (Coding.LATER if self.index else Coding.FIRST)

    @property
    def at_seam(self) -> bool:
        """Whether the next unit goes on with what another lane has made."""
        if self.index == 0 or self._unit > 0 or self.run.stage is Stage.CONDITIONING:
            return False
        return self.submission.runs[self._position - 1].stage is not self.run.stage

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
        return self.seconds + self.loads * self.load_s

    @property
    def bound_s(self) -> float:
        return self.arrival_s + self.bound * self.fifo_s + max(0.0, self.slipped_s) + self.held_s

    @property
    def due_s(self) -> float:
        return self.bound_s if self.hope is Hope.NONE else min(self.hoped_s, self.bound_s)

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
        """Seconds as costs now are."""
        self.fifo_s = self._ahead_s + seconds_of(self._ahead)
        self._count()

    def _count(self) -> None:
        """`seconds` of all that is left, `run_s` of this run, `weighted_s` by priority."""
        self.seconds = seconds_of(self.left)
        self.run_s = 0.0 if self.ended else (self.run.units - self._unit) * self.unit_s
        self.weighted_s = self.seconds / self.submission.priority

    def hand_out(self, now: float, ends_s: float) -> None:
        """The next unit goes out, and counts as left no more."""
        run, cost = self.run, self.cost
        self.out = UnitOut(self.index, cost, run.passes, now, ends_s)
        self.index += 1
        self._unit += 1
        take_passes(self.left, {cost: run.passes})
        if self._unit == run.units:
            self.loads -= run.expert is not None
            self._position += 1
            self._unit = 0
        self._count()

    def take_back(self) -> None:
        """The unit that is out is not done: it is the next one again."""
        self.out = None
        self.index -= 1
        if not self._unit:
            self._position -= 1
            self._unit = self.run.units
            self.loads += self.run.expert is not None
        self._unit -= 1
        add_passes(self.left, {self.cost: self.run.passes})
        self._count()
