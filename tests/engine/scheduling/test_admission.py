"""A deadline is promised or refused, and so is memory."""

from __future__ import annotations

import pytest
from scheduled import Machine, submission, table, units

from wan_trt.engine.scheduling.admission import Reason, Refusal
from wan_trt.engine.scheduling.preference import Policy
from wan_trt.engine.scheduling.scheduler import Scheduler


@pytest.mark.parametrize("policy", Policy)
def test_a_deadline_that_cannot_be_met_is_refused_with_one_that_can(policy: Policy) -> None:
    scheduler = Scheduler(table(), policy, admission=True)
    assert scheduler.submit(submission("first", units(6), deadline_s=6), now=0) is None
    refusal = scheduler.submit(submission("second", units(2), deadline_s=7), now=0)
    assert refusal == Refusal("second", Reason.DEADLINE, possible_s=8)
    assert len(scheduler) == 1
    assert scheduler.submit(submission("second", units(2), deadline_s=8), now=0) is None
    machine = Machine(scheduler)
    machine.run()
    assert machine.finished == {"first": 6, "second": 8}


@pytest.mark.parametrize("policy", [Policy.SHORTEST, Policy.DEADLINE, Policy.FAIR])
def test_a_job_fits_before_those_that_can_wait(policy: Policy) -> None:
    scheduler = Scheduler(table(), policy, admission=True)
    scheduler.submit(submission("patient", units(10), deadline_s=13), now=0)
    refusal = scheduler.submit(submission("hurried", units(4), deadline_s=5), now=0)
    assert refusal == Refusal("hurried", Reason.DEADLINE, possible_s=14)  # after it
    assert scheduler.submit(submission("hurried", units(3), deadline_s=5), now=0) is None
    machine = Machine(scheduler)
    machine.run()
    assert machine.finished["hurried"] <= 5
    assert machine.finished["patient"] <= 13


def test_a_unit_that_is_under_way_counts() -> None:
    scheduler = Scheduler(table(4.0), Policy.DEADLINE, admission=True)
    scheduler.submit(submission("running", units(1)), now=0)
    decision = scheduler.next(0)
    refusal = scheduler.submit(submission("next", units(1), deadline_s=6), now=1)
    assert refusal == Refusal("next", Reason.DEADLINE, possible_s=8)
    assert decision is not None
    assert not scheduler.done(decision, 4.0)


def test_without_admission_the_deadline_is_a_hope() -> None:
    scheduler = Scheduler(table(), Policy.DEADLINE)
    assert scheduler.submit(submission("impossible", units(6), deadline_s=1), now=0) is None
    assert len(scheduler) == 1


def test_state_that_does_not_fit_now_is_told_when_it_will() -> None:
    scheduler = Scheduler(table(), state_capacity_nbytes=100)
    scheduler.submit(submission("a", units(3), state_nbytes=60), now=0)
    scheduler.submit(submission("b", units(3), state_nbytes=40), now=0)
    refusal = scheduler.submit(submission("c", units(2), state_nbytes=50), now=0)
    assert refusal == Refusal("c", Reason.MEMORY, possible_s=3 + 2)
    machine = Machine(scheduler)
    while "a" not in machine.finished:
        machine.step()
    assert scheduler.submit(submission("c", units(2), state_nbytes=50), machine.now) is None


def test_state_that_never_fits_is_refused_for_good() -> None:
    scheduler = Scheduler(table(), state_capacity_nbytes=100)
    refusal = scheduler.submit(submission("huge", units(1), state_nbytes=101), now=0)
    assert refusal == Refusal("huge", Reason.TOO_LARGE, possible_s=None)


def test_a_cancelled_job_gives_its_place_and_memory_back() -> None:
    scheduler = Scheduler(table(), Policy.DEADLINE, admission=True, state_capacity_nbytes=100)
    scheduler.submit(submission("first", units(6), deadline_s=6, state_nbytes=100), now=0)
    scheduler.cancel("first")
    second = submission("second", units(6), deadline_s=6, state_nbytes=100)
    assert scheduler.submit(second, now=0) is None
