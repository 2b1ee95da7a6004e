"""A job that has to wait keeps its place, and its wait is at nobody else's expense."""

from __future__ import annotations

import pytest
from scheduled import HIGH, Machine, runs, submission, table, units

from wan_trt.engine.scheduling.preference import Policy
from wan_trt.engine.scheduling.scheduler import Scheduler


def machine_of(policy: Policy, *, admission: bool = False) -> Machine:
    return Machine(Scheduler(table(), policy, admission=admission))


def test_a_held_job_gets_no_turns_and_its_place_back() -> None:
    machine = machine_of(Policy.FIFO)
    for name in ("first", "second"):
        machine.scheduler.submit(submission(name, units(3)), machine.now)
    machine.step()
    machine.scheduler.hold("first", machine.now)
    machine.step()
    machine.scheduler.release("first", machine.now)
    assert machine.run() == ["first", "first", "second", "second"]


def test_with_all_held_there_is_nothing_to_do() -> None:
    machine = machine_of(Policy.DEADLINE)
    machine.scheduler.submit(submission("only", units(2)), 0.0)
    machine.scheduler.hold("only", 0.0)
    assert machine.step() is None
    machine.scheduler.check()
    machine.now = 1000.0
    machine.scheduler.release("only", machine.now)
    assert machine.run() == ["only", "only"]


def test_a_unit_that_was_begun_in_vain_is_done_again() -> None:
    machine = machine_of(Policy.FIFO)
    machine.scheduler.submit(submission("job", runs(high=2, low=1)), 0.0)
    machine.step()
    for _ in range(2):  # the first of a run, and the last
        machine.step()
        decision = machine.scheduler.next(machine.now)
        assert decision is not None
        machine.scheduler.give_back(decision, machine.now)
        with pytest.raises(ValueError, match="is not out"):
            machine.scheduler.done(decision, 1.0)
        machine.scheduler.check()
        again = machine.scheduler.next(machine.now)
        assert again == decision
        machine.scheduler.give_back(decision, machine.now)
    machine.run()
    assert [decision.index for decision in machine.decisions] == [0, 1, 2, 3, 4]
    assert [decision.expert for decision in machine.decisions].count(HIGH) == 2


@pytest.mark.parametrize(("held_s", "kept"), [(4.0, True), (6.0, False)])
def test_a_deadline_is_kept_if_the_wait_was_short(held_s: float, kept: bool) -> None:
    """Of 5 units, due at 10: it can wait for 5 seconds."""
    machine = machine_of(Policy.DEADLINE, admission=True)
    machine.scheduler.submit(submission("held", units(5), deadline_s=10.0), 0.0)
    machine.scheduler.hold("held", 0.0)
    machine.now = held_s
    machine.scheduler.submit(submission("other", units(5), deadline_s=20.0), held_s)
    machine.scheduler.release("held", machine.now)
    machine.run()
    assert (machine.finished["held"] <= 10.0) == kept
    assert machine.finished["other"] <= 20.0


def test_room_is_kept_for_a_deadline_that_still_can_be() -> None:
    machine = machine_of(Policy.DEADLINE, admission=True)
    machine.scheduler.submit(submission("held", units(5), deadline_s=10.0), 0.0)
    machine.scheduler.hold("held", 0.0)
    refusal = machine.scheduler.submit(submission("other", units(5), deadline_s=9.0), 3.0)
    assert refusal is not None
    assert refusal.possible_s == pytest.approx(13.0)
    machine.now = 3.0
    machine.scheduler.release("held", machine.now)
    machine.run()
    assert machine.finished == {"held": 8.0}


def test_nobody_spends_the_room_that_a_held_job_will_need() -> None:
    """Of 1 and 9 units by 12, short jobs may go first for 2 seconds, though only 9 may be done."""
    machine = Machine(Scheduler(table(), Policy.SHORTEST, admission=True, bound=2.0))
    machine.scheduler.submit(submission("held", units(1)), 0.0)
    machine.scheduler.submit(submission("other", units(9), deadline_s=12.0), 0.0)
    machine.scheduler.hold("held", 0.0)
    for number in range(8):
        machine.scheduler.submit(submission(f"short {number}", units(1)), 0.0)
    for _ in range(5):
        machine.step()
    machine.scheduler.release("held", machine.now)
    machine.run()
    assert machine.finished["held"] <= 2.0 + 5.0
    assert machine.finished["other"] <= 12.0


def test_a_long_wait_is_at_nobody_elses_expense() -> None:
    """What others were promised in the meantime is kept when the job comes back."""
    machine = machine_of(Policy.DEADLINE, admission=True)
    machine.scheduler.submit(submission("held", units(5), deadline_s=10.0), 0.0)
    machine.scheduler.hold("held", 0.0)
    machine.now = 9.0
    assert machine.scheduler.submit(submission("other", units(5), deadline_s=14.0), 9.0) is None
    machine.scheduler.release("held", machine.now)
    assert machine.run() == ["other"] * 5 + ["held"] * 5


def test_what_is_held_cannot_be_held_again() -> None:
    machine = machine_of(Policy.FIFO)
    machine.scheduler.submit(submission("job", units(2)), 0.0)
    machine.scheduler.hold("job", 0.0)
    with pytest.raises(ValueError, match="held already"):
        machine.scheduler.hold("job", 0.0)
    machine.scheduler.cancel("job")
    machine.scheduler.check()
    assert len(machine.scheduler) == 0
