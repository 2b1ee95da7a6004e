"""The scheduler's own calls: units go out once and in order, lanes, cancellation, misuse."""

from __future__ import annotations

import pytest
from scheduled import HIGH, LOW, Machine, key, runs, submission, table, units

from wan_trt.engine.cursor import Cursor
from wan_trt.engine.scheduling.preference import Policy
from wan_trt.engine.scheduling.scheduler import Scheduler
from wan_trt.engine.scheduling.unit import Stage
from wan_trt.engine.scheduling.work import Run, Submission, job_runs

CODING = frozenset({Stage.CONDITIONING, Stage.DECODE})


def test_a_job_walks_through_its_units() -> None:
    machine = Machine(Scheduler(table()))
    machine.scheduler.submit(submission("a", runs(2, 1, segments=2)), now=0)
    machine.run()
    walk = [(d.index, d.stage.value, d.expert) for d in machine.decisions]
    segment = [
        ("conditioning", None),
        ("denoise", HIGH),
        ("denoise", HIGH),
        ("denoise", LOW),
        ("decode", None),
    ]
    assert walk == [(index, *unit) for index, unit in enumerate(segment * 2)]
    assert machine.scheduler.next(machine.now) is None


def test_lanes_take_what_they_can_do() -> None:
    """One job denoises while another is conditioned; none has two units out."""
    scheduler = Scheduler(table())
    scheduler.submit(submission("a", runs()), now=0)
    first = scheduler.next(0, CODING)
    assert first is not None
    assert scheduler.next(0, {Stage.DENOISE}) is None
    scheduler.done(first, 1.0)
    scheduler.submit(submission("b", runs()), now=1)
    step, coding = scheduler.next(1, {Stage.DENOISE}), scheduler.next(1, CODING)
    assert step is not None
    assert coding is not None
    assert (step.job_id, coding.job_id) == ("a", "b")
    assert scheduler.next(1) is None
    scheduler.check()


def test_a_cancelled_job_has_no_more_units() -> None:
    scheduler = Scheduler(table())
    scheduler.submit(submission("a", units(3)), now=0)
    scheduler.submit(submission("b", units(1)), now=0)
    scheduler.cancel("a")
    decision = scheduler.next(0)
    assert decision is not None
    assert decision.job_id == "b"
    scheduler.cancel("b")  # while its unit is out: it is not done any more
    with pytest.raises(ValueError, match="unit 0 of job b is not out"):
        scheduler.done(decision, 1.0)
    assert len(scheduler) == 0
    with pytest.raises(KeyError):
        scheduler.cancel("b")


def test_a_unit_is_done_once() -> None:
    scheduler = Scheduler(table())
    scheduler.submit(submission("a", units(2)), now=0)
    decision = scheduler.next(0)
    assert decision is not None
    assert scheduler.done(decision, 1.0)
    with pytest.raises(ValueError, match="not out"):
        scheduler.done(decision, 1.0)
    with pytest.raises(ValueError, match="live already"):
        scheduler.submit(submission("a", units(1)), now=1)


@pytest.mark.parametrize(
    ("work", "priority", "said"),
    [((), 1.0, "at least one unit"), (units(0), 1.0, "one unit"), (units(1), 0.0, "positive")],
)
def test_work_that_is_none(work: tuple[Run, ...], priority: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Submission("a", work, priority=priority)


def test_a_bound_below_first_come_first_served_is_none() -> None:
    with pytest.raises(ValueError, match="at least"):
        Scheduler(table(), bound=0.9)


@pytest.mark.parametrize(
    ("at", "left"),
    [
        (Cursor(), "C H H L D C H H L D"),
        (Cursor(0, Stage.DENOISE, 0), "H H L D C H H L D"),
        (Cursor(0, Stage.DENOISE, 1), "H L D C H H L D"),
        (Cursor(0, Stage.DENOISE, 2), "L D C H H L D"),
        (Cursor(1, Stage.DENOISE, 2), "L D"),
        (Cursor(1, Stage.DECODE, 2), "D"),
    ],
)
def test_a_resumed_job_is_what_is_left_of_it(at: Cursor, left: str) -> None:
    """Guidance runs the high-noise expert twice a step."""
    work = job_runs(2, [(HIGH, 2), (HIGH, 2), (LOW, 1)], key, at)
    letters = {Stage.CONDITIONING: "C", Stage.DECODE: "D"}
    names = [
        letters.get(run.stage) or ("H" if run.expert is HIGH else "L")
        for run in work
        for _ in range(run.units)
    ]
    assert names == left.split()
    assert {run.passes for run in work if run.expert is HIGH} <= {2}


def test_passes_make_the_cost_of_a_unit() -> None:
    scheduler = Scheduler(table(), Policy.SHORTEST)
    guided = (Run(key(Stage.DENOISE, HIGH), units=2, passes=2, expert=HIGH),)
    scheduler.submit(submission("guided", guided), now=0)
    assert scheduler.fifo_s("guided") == 4.0
    decision = scheduler.next(0)
    assert decision is not None
    scheduler.done(decision, 6.0)
    after = scheduler.next(6)
    assert after is not None
    assert after.seconds == 6.0  # three seconds a pass
