"""What each policy prefers, and that it has its way only while others can wait."""

from __future__ import annotations

import pytest
from scheduled import Machine, submission, table, units

from wan_trt.engine.scheduling.preference import Policy
from wan_trt.engine.scheduling.scheduler import BOUND, Scheduler


def machine(policy: Policy) -> Machine:
    return Machine(Scheduler(table(), policy))


def in_order(jobs: list[str]) -> list[str]:
    """Runs of the same job as one."""
    return [job for index, job in enumerate(jobs) if index == 0 or jobs[index - 1] != job]


def test_first_come_first_served() -> None:
    fifo = machine(Policy.FIFO)
    for job_id, count in [("long", 5), ("short", 1), ("medium", 3)]:
        fifo.scheduler.submit(submission(job_id, units(count)), now=0)
    assert fifo.run() == ["long"] * 5 + ["short"] + ["medium"] * 3


def test_the_shortest_goes_first_and_takes_over_at_a_boundary() -> None:
    shortest = machine(Policy.SHORTEST)
    shortest.scheduler.submit(submission("long", units(9)), now=0)
    shortest.step()
    shortest.scheduler.submit(submission("medium", units(3)), now=1)
    shortest.scheduler.submit(submission("short", units(1)), now=1)
    assert in_order(shortest.run()) == ["short", "medium", "long"]


def test_priority_weighs_work() -> None:
    shortest = machine(Policy.SHORTEST)
    shortest.scheduler.submit(submission("long", units(9)), now=0)
    shortest.scheduler.submit(submission("short", units(2)), now=0)
    shortest.scheduler.submit(submission("urgent", units(6), priority=4.0), now=0)
    assert in_order(shortest.run()) == ["urgent", "short", "long"]


def test_a_long_job_is_not_passed_over_for_ever() -> None:
    """One unit arrives each second: the shortest first would never come to the long job."""
    shortest = machine(Policy.SHORTEST)
    shortest.scheduler.submit(submission("long", units(4)), now=0)
    while "long" not in shortest.finished:
        shortest.scheduler.submit(submission(f"at {shortest.now}", units(1)), now=shortest.now)
        shortest.step()
    assert shortest.finished["long"] == BOUND * 4


def test_the_earliest_deadline_goes_first() -> None:
    deadline = machine(Policy.DEADLINE)
    deadline.scheduler.submit(submission("running", units(12), deadline_s=30), now=0)
    for job_id, deadline_s in [("late", 25), ("early", 9), ("middle", 12)]:
        deadline.scheduler.submit(submission(job_id, units(3), deadline_s), now=0)
    assert in_order(deadline.run()) == ["early", "middle", "late", "running"]


def test_a_deadline_beyond_the_bound_is_none() -> None:
    """Nobody loses by saying when a job is needed."""
    deadline = machine(Policy.DEADLINE)
    deadline.scheduler.submit(submission("any time", units(4), deadline_s=1000), now=0)
    deadline.scheduler.submit(submission("soon", units(4), deadline_s=12), now=0)
    assert in_order(deadline.run()) == ["any time", "soon"]


def test_who_cannot_be_on_time_makes_room_for_those_who_can() -> None:
    """Three short jobs, or the long one: of both only one is possible."""
    deadline = machine(Policy.DEADLINE)
    deadline.scheduler.submit(submission("long", units(6), deadline_s=7), now=0)
    for name in "abc":
        deadline.scheduler.submit(submission(name, units(2), deadline_s=8), now=0)
    assert in_order(deadline.run()) == ["a", "b", "c", "long"]
    assert all(deadline.finished[name] <= 8 for name in "abc")


def test_a_deadline_that_is_out_of_reach_displaces_nobody() -> None:
    deadline = machine(Policy.DEADLINE)
    deadline.scheduler.submit(submission("possible", units(4), deadline_s=6), now=0)
    deadline.scheduler.submit(submission("impossible", units(5), deadline_s=4), now=0)
    deadline.run()
    assert deadline.finished == {"possible": 4, "impossible": 9}


def test_no_deadline_is_no_reason_to_be_last() -> None:
    """It gets a soft one, from its own work."""
    deadline = machine(Policy.DEADLINE)
    deadline.scheduler.submit(submission("relaxed", units(20), deadline_s=1000), now=0)
    deadline.scheduler.submit(submission("without", units(2)), now=0)
    assert in_order(deadline.run()) == ["without", "relaxed"]


def test_no_deadline_is_no_reason_to_be_first() -> None:
    """A soft deadline that comes first gives way to a deadline that needs its time."""
    deadline = machine(Policy.DEADLINE)
    deadline.scheduler.submit(submission("relaxed", units(20), deadline_s=1000), now=0)
    deadline.scheduler.submit(submission("without", units(1)), now=0)
    deadline.scheduler.submit(submission("hurried", units(20), deadline_s=20), now=0)
    done = deadline.run()
    assert done[:20] == ["hurried"] * 20
    assert deadline.finished["without"] <= BOUND * 21


def test_owners_share_whatever_they_send() -> None:
    fair = machine(Policy.FAIR)
    for number in range(6):
        fair.scheduler.submit(submission(f"many-{number}", units(2), owner="many"), now=0)
    fair.scheduler.submit(submission("one", units(2), owner="one"), now=0)
    fair.run()
    assert fair.finished["one"] <= 4
    assert fair.finished["many-5"] == 14


def test_priority_weighs_shares() -> None:
    fair = machine(Policy.FAIR)
    for number in range(6):
        for owner, priority in [("studio", 2.0), ("guest", 1.0)]:
            job = submission(f"{owner}-{number}", units(1), owner=owner, priority=priority)
            fair.scheduler.submit(job, now=0)
    done = fair.run()[:6]
    assert sum(job.startswith("studio") for job in done) == 4


def test_having_been_away_earns_no_credit() -> None:
    fair = machine(Policy.FAIR)
    for number in range(8):
        fair.scheduler.submit(submission(f"busy-{number}", units(1), owner="busy"), now=0)
    for _ in range(4):
        fair.step()
    for number in range(4):
        fair.scheduler.submit(submission(f"back-{number}", units(1), owner="back"), now=4)
    done = fair.run()
    assert sum(job.startswith("back") for job in done[:4]) == 2


@pytest.mark.parametrize("policy", Policy)
def test_equal_jobs_go_in_the_order_of_arrival(policy: Policy) -> None:
    equal = machine(policy)
    for name in "abcd":
        equal.scheduler.submit(submission(name, units(1)), now=0)
    assert equal.run() == ["a", "b", "c", "d"]


@pytest.mark.parametrize("policy", Policy)
def test_the_same_calls_give_the_same_decisions(policy: Policy) -> None:
    def decisions() -> list[object]:
        run = machine(policy)
        for number in range(20):
            job = submission(
                f"{number}",
                units(1 + number * 7 % 5),
                deadline_s=None if number % 3 else 4.0 * number,
                owner="ab"[number % 2],
            )
            run.scheduler.submit(job, now=run.now)
            run.step()
        run.run()
        return list(run.decisions)

    assert decisions() == decisions()
