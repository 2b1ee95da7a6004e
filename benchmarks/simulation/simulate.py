"""One machine that does what the engine's scheduler decides, over a trace."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from simulation.machines import ANIMATE_14B, Machine
from simulation.traces import TracedJob
from wan_trt.engine.request import ExpertName
from wan_trt.engine.scheduling.costs import CostTable
from wan_trt.engine.scheduling.experts import OneExpert
from wan_trt.engine.scheduling.operations import operations
from wan_trt.engine.scheduling.pace import Pace
from wan_trt.engine.scheduling.preference import Policy
from wan_trt.engine.scheduling.scheduler import Decision, Scheduler
from wan_trt.engine.scheduling.work import Submission

FIRST_GUESS = 400e12
"""Operations a second that the scheduler begins with, on every machine: it must learn the rest."""


@dataclass
class Outcome:
    """What became of a trace. `late` are jobs that ended unfinished when their time was over.
    `changes` counts units of another job than the unit before, less one for each job: how often a
    job came back."""

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
    ) -> None:
        """With `ends_late`, jobs end at their deadline, as in an engine; else they go on. With
        `costs_known`, the scheduler knows the machine's costs from the start. `pace` learns the
        margin of admission, None: the scheduler's own."""
        self._machine = machine
        self._ends_late = ends_late
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
        now, last = 0.0, None
        begun: set[str] = set()
        outcome = self._outcome
        for _ in itertools.count():
            self._arrive(now)
            if self._ends_late:
                self._end_late(now)
            decision = self._scheduler.next(now)
            if decision is None:
                if not self._arriving:
                    break
                now = self._arriving[0].arrival_s
                continue
            outcome.units += 1
            outcome.changes += last not in (None, decision.job_id)
            last = decision.job_id
            begun.add(last)
            job = self._jobs[decision.job_id]
            run_s = decision_seconds(decision, job, self._machine)
            now += self._load(decision, now)
            if decision.prefetch and self._fetch.expert is not decision.prefetch:
                self._fetch = _Fetch(decision.prefetch, now)
            self._arrive(now + run_s)
            now += run_s
            if not self._scheduler.done(decision, run_s):
                outcome.finished_s[job.job_id] = now
                del self._live[job.job_id]
        outcome.changes -= max(0, len(begun) - 1)
        outcome.end_s = now
        return outcome

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
            if job.deadline_s is not None and job.deadline_s <= now:
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
