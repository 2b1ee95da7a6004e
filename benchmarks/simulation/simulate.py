"""One machine that does what the engine's scheduler decides, over a trace, in one lane or two."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from simulation.machines import ANIMATE_14B, Machine
from simulation.traces import TracedJob
from wan_trt.engine.lanes import TOGETHER, Lane
from wan_trt.engine.request import ExpertName
from wan_trt.engine.scheduling.costs import CostTable
from wan_trt.engine.scheduling.decision import Decision
from wan_trt.engine.scheduling.experts import OneExpert
from wan_trt.engine.scheduling.operations import operations
from wan_trt.engine.scheduling.pace import Pace
from wan_trt.engine.scheduling.preference import Policy
from wan_trt.engine.scheduling.scheduler import Scheduler
from wan_trt.engine.scheduling.work import Submission

FIRST_GUESS = 400e12
"""Operations a second that the scheduler begins with, on every machine: it must learn the rest."""


@dataclass
class Outcome:
    """What became of a trace. `late` are jobs that ended unfinished when their time was over.
    `changes` counts units of another job than the unit before in their lane, less one for each job:
    how often a job came back."""

    finished_s: dict[str, float] = field(default_factory=dict)
    refused: dict[str, float | None] = field(default_factory=dict)
    late: set[str] = field(default_factory=set)
    loads: int = 0
    loading_s: float = 0.0
    changes: int = 0
    units: int = 0
    end_s: float = 0.0


@dataclass
class _Fetch:
    """What comes into memory beside the work."""

    expert: ExpertName | None = None
    begun_s: float = 0.0


@dataclass
class _Running:
    """A unit under way. `left_s` is its work, its load included, as it would be alone."""

    decision: Decision
    left_s: float
    loading_s: float
    began_s: float


class Simulation:
    def __init__(
        self,
        machine: Machine,
        trace: Sequence[TracedJob],
        policy: Policy,
        admission: bool = False,
        *,
        ends_late: bool = False,
        costs_known: bool = False,
        pace: Pace | None = None,
        lanes: tuple[Lane, ...] = TOGETHER,
        side_by_side: float = 1.0,
    ) -> None:
        """With `ends_late`, jobs end at their deadline, as in an engine; else they go on. With
        `costs_known`, the scheduler knows the machine's costs from the start. `pace` learns the
        margin of admission, None: the scheduler's own. `side_by_side` is how fast each of two units
        runs while both do, by its speed alone: 1 where they do not feel each other, 0.5 where
        nothing is gained."""
        self._machine = machine
        self._ends_late = ends_late
        self._lanes, self._side_by_side = lanes, side_by_side
        self._running: dict[Lane, _Running] = {}
        self._last: dict[Lane, str] = {}
        self._begun: set[tuple[Lane, str]] = set()
        self._jobs = {job.job_id: job for job in trace}
        self._arriving = deque(trace)
        load_s = machine.load_s
        keys = dict.fromkeys(run.key for job in trace for run in job.runs) if costs_known else {}
        known = {key: machine.seconds(key) for key in keys}
        self._scheduler = Scheduler(
            CostTable(partial(operations, geometry=ANIMATE_14B), FIRST_GUESS, known),
            policy,
            one_expert=None if load_s is None else OneExpert(load_s),
            admission=admission,
            pace=pace,
        )
        self._live: dict[str, TracedJob] = {}
        self._fetch = _Fetch()
        self._outcome = Outcome()

    def run(self) -> Outcome:
        now = 0.0
        while True:
            self._arrive(now)
            self._begin(now)
            if self._running:
                now = self._go_on(now)
            elif self._arriving:
                now = self._arriving[0].arrival_s
            else:
                break
        self._outcome.changes -= max(0, len(self._begun) - len(self._last))
        self._outcome.end_s = now
        return self._outcome

    def _begin(self, now: float) -> None:
        """Units in the lanes that are free."""
        free = [lane for lane in self._lanes if lane not in self._running]
        if free and self._ends_late:
            self._end_late(now)
        for lane in free:
            decision = self._scheduler.next(now, lane.stages)
            if decision is None:
                continue
            loading_s = self._load(decision, now)
            if decision.prefetch and self._fetch.expert is not decision.prefetch:
                self._fetch = _Fetch(decision.prefetch, now + loading_s)
            run_s = decision_seconds(decision, self._jobs[decision.job_id], self._machine)
            self._running[lane] = _Running(decision, loading_s + run_s, loading_s, now)
            self._outcome.units += 1
            self._outcome.changes += self._last.get(lane, decision.job_id) != decision.job_id
            self._last[lane] = decision.job_id
            self._begun.add((lane, decision.job_id))

    def _go_on(self, now: float) -> float:
        """To the next end or arrival, whose time is returned."""
        speed = 1.0 if len(self._running) == 1 else self._side_by_side
        lane = min(self._running, key=lambda lane: self._running[lane].left_s)
        first = self._running[lane]
        ends_s = now + first.left_s / speed
        comes_s = self._arriving[0].arrival_s if self._arriving else math.inf
        then = min(ends_s, comes_s)
        for running in self._running.values():
            running.left_s -= (then - now) * speed
        if ends_s <= comes_s:
            del self._running[lane]
            self._arrive(ends_s)
            job_id = first.decision.job_id
            taken_s = max(0.0, ends_s - first.began_s - first.loading_s)
            if not self._scheduler.done(first.decision, taken_s):
                self._outcome.finished_s[job_id] = ends_s
                del self._live[job_id]
        return then

    def _arrive(self, now: float) -> None:
        while self._arriving and self._arriving[0].arrival_s <= now:
            job = self._arriving.popleft()
            refusal = self._scheduler.submit(
                Submission(job.job_id, job.runs, job.owner, deadline_s=job.deadline_s),
                job.arrival_s,
            )
            if refusal is None:
                self._live[job.job_id] = job
            else:
                self._outcome.refused[job.job_id] = refusal.possible_s

    def _end_late(self, now: float) -> None:
        for job in list(self._live.values()):
            out = any(job.job_id == each.decision.job_id for each in self._running.values())
            if not out and job.deadline_s is not None and job.deadline_s <= now:
                self._scheduler.cancel(job.job_id)
                self._outcome.late.add(job.job_id)
                del self._live[job.job_id]

    def _load(self, decision: Decision, now: float) -> float:
        """Seconds until the unit's expert is there."""
        if decision.load is None or self._machine.load_s is None:
            return 0.0
        there = 0.0
        if self._fetch.expert is decision.load:
            fetched_s = now - self._fetch.begun_s
            there = min(self._machine.prefetched, fetched_s / self._machine.load_s)
        self._fetch = _Fetch()
        loading_s = (1 - there) * self._machine.load_s
        self._outcome.loads += 1
        self._outcome.loading_s += loading_s
        return loading_s


def decision_seconds(decision: Decision, job: TracedJob, machine: Machine) -> float:
    """What a unit really takes."""
    done = 0
    for run in job.runs:
        if decision.index < done + run.units:
            return machine.seconds(run.key) * run.passes * job.factors[decision.index]
        done += run.units
    raise ValueError(f"job {job.job_id} has no unit {decision.index}")
