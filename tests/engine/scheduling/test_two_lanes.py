"""Two lanes whose units take anything but what was expected: neither waits for ever."""

from __future__ import annotations

import random

import pytest
from scheduled import runs, submission, table

from wan_trt.engine.lanes import APART, Lane
from wan_trt.engine.scheduling.decision import Decision
from wan_trt.engine.scheduling.preference import Policy
from wan_trt.engine.scheduling.scheduler import Scheduler

JOBS = 25


@pytest.mark.parametrize("policy", Policy)
def test_both_lanes_are_never_idle_with_work_to_do(policy: Policy) -> None:
    """Also where jobs are held back because others wait between the lanes, and promises cannot be
    kept: with guesses up to a million times too low."""
    for seed in range(30):
        draw = random.Random(seed)
        costs = table(10 ** draw.uniform(-6, 1))
        scheduler = Scheduler(costs, policy, bound=draw.choice([1.0, 1.5, 2.25]))
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
