"""Two lanes side by side: neither waits for ever, and promises are those of one lane."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from scheduled import key, runs, submission, table

from wan_trt.engine.lanes import APART, Lane
from wan_trt.engine.memory.footprint import VideoSize
from wan_trt.engine.scheduling.costs import CostTable
from wan_trt.engine.scheduling.decision import Decision
from wan_trt.engine.scheduling.experts import OneExpert
from wan_trt.engine.scheduling.preference import Policy
from wan_trt.engine.scheduling.scheduler import Scheduler
from wan_trt.engine.scheduling.work import Run

JOBS = 25


@dataclass
class Lanes:
    """Do what the scheduler decides, in the time that it expects."""

    scheduler: Scheduler
    load_s: float = 0.0
    now: float = 0.0
    out: dict[Lane, tuple[Decision, float]] = field(default_factory=dict)
    finished: dict[str, float] = field(default_factory=dict)

    def begin(self, lane: Lane) -> None:
        if lane not in self.out and (decision := self.scheduler.next(self.now, lane.stages)):
            load_s = self.load_s if decision.load else 0.0
            self.out[lane] = decision, self.now + decision.seconds + load_s

    def end(self) -> None:
        lane = min(self.out, key=lambda lane: self.out[lane][1])
        decision, self.now = self.out.pop(lane)
        if not self.scheduler.done(decision, decision.seconds):
            self.finished[decision.job_id] = self.now

    def run(self) -> None:
        while len(self.scheduler):
            for lane in APART:
                self.begin(lane)
            self.end()


def test_who_is_due_first_begins_though_many_wait_between_the_lanes() -> None:
    """Those were conditioned, waited for room on a disk, and go on all at once."""
    lanes = Lanes(Scheduler(table(), Policy.SHORTEST, bound=1.5))
    lanes.scheduler.submit(submission("first", runs()), 0.0)  # 4 seconds
    lanes.scheduler.hold("first", 0.0)
    others = [f"other {number}" for number in range(5)]
    for other in others:
        lanes.scheduler.submit(submission(other, runs()), lanes.now)
        lanes.begin(Lane.CODING)
        lanes.end()
        lanes.scheduler.hold(other, lanes.now)
    for held in ("first", *others):
        lanes.scheduler.release(held, lanes.now)
    lanes.run()
    assert lanes.finished["first"] <= 1.5 * 4.0 + 5.0


def test_a_load_does_not_count_as_a_broken_promise() -> None:
    """While an expert is loaded for a job, its steps are expected with a load still. That is no
    reason to let somebody else begin, which would cost the deadline that was promised."""
    load_s = 0.5
    costs = CostTable(lambda key: key.size.height / 240, operations_per_s=1.0)
    scheduler = Scheduler(
        costs, Policy.SHORTEST, one_expert=OneExpert(load_s), admission=True, bound=1.5
    )
    lanes = Lanes(scheduler, load_s)
    scheduler.submit(submission("first", larger(runs(high=1, low=4))), 0.0)  # 22 seconds, by 33
    lanes.begin(Lane.CODING)
    scheduler.submit(submission("second", larger(runs())), 0.0)
    assert scheduler.submit(submission("third", runs(high=2), deadline_s=22.0), 0.0) is None
    lanes.run()
    assert lanes.finished["third"] <= 22.0
    assert lanes.finished["first"] <= 33.0


def larger(work: Sequence[Run]) -> list[Run]:
    size = VideoSize(720, 1280, 77)
    return [replace(run, key=key(run.stage, run.expert, size)) for run in work]


@pytest.mark.parametrize("policy", Policy)
def test_both_lanes_are_never_idle_with_work_to_do(policy: Policy) -> None:
    """Also where jobs are held back because others wait between the lanes, and promises cannot be
    kept: with guesses up to a million times too low."""
    for seed in range(30):
        draw = random.Random(seed)
        costs = table(10 ** draw.uniform(-6, 1))
        one_expert = draw.choice([None, OneExpert(0.1), OneExpert(3.0)])
        scheduler = Scheduler(
            costs, policy, bound=draw.choice([1.0, 1.5, 2.25]), one_expert=one_expert
        )
        now, submitted = 0.0, 0
        out: dict[Lane, tuple[Decision, float, float]] = {}
        while submitted < JOBS or len(scheduler):
            if submitted < JOBS and draw.random() < 0.5:
                deadline_s = draw.choice([None, now + draw.uniform(0.1, 20)])
                work = runs(draw.randint(1, 5), draw.randint(1, 3), draw.randint(1, 2))
                scheduler.submit(submission(f"job {submitted}", work, deadline_s), now)
                submitted += 1
            for lane in draw.sample(APART, 2):
                if lane not in out and (decision := scheduler.next(now, lane.stages)):
                    out[lane] = decision, now, now + 10 ** draw.uniform(-2, 1)
            assert out or not len(scheduler), f"seed {seed}: both lanes wait"
            if out:
                lane = min(out, key=lambda lane: out[lane][2])
                decision, began, now = out.pop(lane)
                scheduler.done(decision, now - began)
                scheduler.check()
