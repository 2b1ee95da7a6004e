"""One expert in memory: its steps in groups, the other one fetched in time."""

from __future__ import annotations

import pytest
from scheduled import HIGH, LOW, Machine, runs, submission, table

from wan_trt.engine.scheduling.experts import HOLD, OneExpert
from wan_trt.engine.scheduling.preference import Policy
from wan_trt.engine.scheduling.scheduler import Scheduler
from wan_trt.engine.scheduling.unit import Stage


def machine(policy: Policy, load_s: float | None = 2.0) -> Machine:
    one = None if load_s is None else OneExpert(load_s)
    return Machine(Scheduler(table(), policy, one_expert=one), load_s or 0.0)


def test_with_both_resident_nothing_is_loaded_or_fetched() -> None:
    both = machine(Policy.FIFO, load_s=None)
    both.scheduler.submit(submission("a", runs(2, 2)), now=0)
    both.run()
    assert [d.expert for d in both.decisions] == [None, HIGH, HIGH, LOW, LOW, None]
    assert not any(decision.load or decision.prefetch for decision in both.decisions)


def test_a_job_alone_loads_each_expert_once_a_segment() -> None:
    one = machine(Policy.FIFO)
    one.scheduler.submit(submission("a", runs(2, 2, segments=2)), now=0)
    one.run()
    assert [d.load for d in one.decisions if d.stage is Stage.DENOISE] == [
        *(HIGH, None, LOW, None),
        *(HIGH, None, LOW, None),
    ]
    assert one.finished["a"] == 12 + 4 * 2


def test_the_other_expert_is_fetched_a_load_before_the_boundary() -> None:
    """A load takes two steps: it begins when two are left after this one, or fewer."""
    one = machine(Policy.FIFO)
    one.scheduler.submit(submission("a", runs(5, 1, segments=2)), now=0)
    one.run()
    high = [d.prefetch for d in one.decisions if d.expert is HIGH]
    assert high[:5] == [None, None, LOW, LOW, LOW]
    decode = next(d for d in one.decisions if d.stage is Stage.DECODE)
    assert decode.prefetch is HIGH  # of the next segment
    assert one.decisions[-1].prefetch is None


def test_steps_of_the_resident_expert_go_first() -> None:
    """Each of the two would load on its own; together they load once."""

    def loads(policy: Policy) -> int:
        one = machine(policy)
        one.scheduler.submit(submission("a", runs(3, 3), deadline_s=30), now=0)
        while one.now < 4:
            one.step()  # conditioning, and a step of high noise
        one.scheduler.submit(submission("b", runs(1, 3), deadline_s=25), now=one.now)
        one.run()
        return one.loads

    assert loads(Policy.FIFO) == 4
    assert loads(Policy.DEADLINE) == 2


def test_a_group_holds_others_up_no_longer_than_stated() -> None:
    """A step of low noise is preferred; steps of high noise keep coming."""
    one = machine(Policy.SHORTEST)
    one.scheduler.submit(submission("long", runs(40, 1)), now=0)
    while one.now < 5:
        one.step()
    one.scheduler.submit(submission("low", runs(1, 1)[2:]), now=one.now)
    waiting_since = one.now
    while "low" not in one.finished:
        one.step()
    begun = one.finished["low"] - 2 - one.load_s  # a step and decoding, after a load
    assert waiting_since < begun <= waiting_since + HOLD * one.load_s + 1


def test_no_group_holds_up_a_promise() -> None:
    one = machine(Policy.DEADLINE, load_s=5.0)
    one.scheduler.submit(submission("long", runs(40, 1), deadline_s=1000), now=0)
    while one.now < 8:
        one.step()
    low = submission("low", runs(1, 1)[2:], deadline_s=one.now + 5 + 2)
    one.scheduler.submit(low, now=one.now)
    one.run()
    assert one.finished["low"] <= 8 + 5 + 2


@pytest.mark.parametrize("policy", Policy)
def test_the_bound_counts_loads_as_first_come_first_served_would(policy: Policy) -> None:
    one = machine(policy)
    one.scheduler.submit(submission("a", runs(1, 1)), now=0)
    one.scheduler.submit(submission("b", runs(1, 1)), now=0)
    assert one.scheduler.fifo_s("a") == 4 + 2 * 2
    assert one.scheduler.fifo_s("b") == 2 * (4 + 2 * 2)
