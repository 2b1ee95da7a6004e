"""Microseconds of a decision with many live jobs, on the machine that this runs on."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

from simulation.machines import ANIMATE_14B, Machine
from simulation.simulate import FIRST_GUESS, decision_seconds
from simulation.traces import MIXED, TracedJob, make_trace
from wan_trt.engine.scheduling.costs import CostTable
from wan_trt.engine.scheduling.experts import OneExpert
from wan_trt.engine.scheduling.operations import operations
from wan_trt.engine.scheduling.preference import Policy
from wan_trt.engine.scheduling.scheduler import Scheduler
from wan_trt.engine.scheduling.work import Submission


@dataclass(frozen=True)
class Overhead:
    """Microseconds a decision: `mean_us` is all time in `submit`, `next` and `done` by the number
    of decisions, `processor_us` what the processor did of it; the others are of `next` and `done`
    of one unit. What was published of costs, and sorted anew, is among them."""

    policy: str
    admission: bool
    one_expert: bool
    live: int
    decisions: int
    mean_us: float
    processor_us: float
    median_us: float
    p99_us: float
    longest_us: float


def measure(
    machine: Machine, policy: Policy, admission: bool, live: int, decisions: int
) -> Overhead:
    """With `live` jobs at all times: another comes when one ends. With admission, deadlines are far
    enough for that."""
    scheduler = Scheduler(
        CostTable(partial(operations, geometry=ANIMATE_14B), FIRST_GUESS),
        policy,
        one_expert=None if machine.load_s is None else OneExpert(machine.load_s),
        admission=admission,
    )
    jobs: dict[str, TracedJob] = {}
    coming = _coming(machine, live)
    now = 0.0

    def fill() -> None:
        while len(scheduler) < live:
            job = next(coming)
            deadline_s = now + 6 * live * job.own_s if job.deadline_s else None
            submission = Submission(job.job_id, job.runs, job.owner, deadline_s=deadline_s)
            jobs[job.job_id] = job
            with clock:
                scheduler.submit(submission, now)

    clock = _Clock()
    fill()
    clock = _Clock()
    each_us = []
    for _ in range(decisions):
        with clock:
            decision = scheduler.next(now)
        next_ns = clock.last_ns
        assert decision is not None
        seconds = decision_seconds(decision, jobs[decision.job_id], machine)
        now += seconds + (machine.load_s or 0.0 if decision.load else 0.0)
        with clock:
            goes_on = scheduler.done(decision, seconds)
        each_us.append((next_ns + clock.last_ns) / 1000)
        if not goes_on:
            del jobs[decision.job_id]
            fill()
    return Overhead(
        policy=policy.value,
        admission=admission,
        one_expert=machine.load_s is not None,
        live=live,
        decisions=decisions,
        mean_us=round(clock.wall_ns / 1000 / decisions, 1),
        processor_us=round(clock.processor_ns / 1000 / decisions, 1),
        median_us=round(statistics.median(each_us), 1),
        p99_us=round(statistics.quantiles(each_us, n=100)[98], 1),
        longest_us=round(max(each_us), 1),
    )


class _Clock:
    """Sums up the time inside `with`, less what looking at the clocks takes."""

    def __init__(self) -> None:
        self.wall_ns = self.processor_ns = self.last_ns = 0

    def __enter__(self) -> None:
        self._processor = time.thread_time_ns()
        self._wall = time.perf_counter_ns()

    def __exit__(self, *_: object) -> None:
        self.last_ns = time.perf_counter_ns() - self._wall
        self.wall_ns += self.last_ns
        self.processor_ns += time.thread_time_ns() - self._processor


def _coming(machine: Machine, live: int) -> Iterator[TracedJob]:
    """Jobs of the mixed traffic, without end."""
    for seed in itertools.count():
        for job in make_trace(MIXED, machine, load=1.0, jobs=live, seed=seed):
            yield replace(job, job_id=f"{seed}-{job.job_id}")
