"""The margin of promises follows how unevenly work goes."""

from __future__ import annotations

import random

from scheduled import Machine, submission, table, units

from wan_trt.engine.scheduling.pace import MOST, REMEMBERED, STRETCH, Pace
from wan_trt.engine.scheduling.preference import Policy
from wan_trt.engine.scheduling.scheduler import Scheduler


def work(pace: Pace, seconds: list[float], now: float = 0.0) -> float:
    """Units that were foretold to take 1 second each; when they ended."""
    for taken in seconds:
        pace.begin(now, 1.0)
        now += taken
    pace.rest(now)
    return now


def test_work_that_goes_as_foretold_needs_no_margin() -> None:
    pace = Pace()
    work(pace, [1.0] * 10 * STRETCH)
    assert pace.margin == 1.0
    work(pace, [0.5] * 10 * STRETCH)
    assert pace.margin == 1.0, "and less is not promised sooner"


def test_wild_units_are_allowed_for_by_how_many_there_are() -> None:
    generator = random.Random(0)
    pace = Pace()
    work(pace, [1.0 + (generator.random() < 0.15) for _ in range(REMEMBERED * STRETCH)])
    assert 1.15 < pace.margin < 1.45
    work(pace, [1.0] * (REMEMBERED + 1) * STRETCH)
    assert pace.margin == 1.0, "what was long ago is forgotten"


def test_one_slow_stretch_is_no_rule() -> None:
    """A graph is loaded for half a minute."""
    pace = Pace()
    work(pace, [30.0] + [1.0] * 5 * STRETCH)
    assert pace.margin == 1.0


def test_costs_that_are_wrong_are_no_matter_of_spread() -> None:
    pace = Pace()
    work(pace, [100.0] * 5 * STRETCH)
    assert pace.margin == MOST


def test_time_in_which_nothing_was_to_do_does_not_count() -> None:
    pace = Pace()
    now = 0.0
    for _ in range(10 * STRETCH):
        now = work(pace, [1.0], now) + 100.0
    assert pace.margin == 1.0


def late_jobs(most: float) -> tuple[int, int]:
    """Jobs of 10 units that have 25 seconds, each beside 12 units that FAIR does first as long as
    the job can wait; one unit of five takes twice as long. How many were late, how many refused."""
    generator = random.Random(1)
    scheduler = Scheduler(table(), Policy.FAIR, admission=True, pace=Pace(most))
    machine = Machine(scheduler, seconds=lambda _: 1.0 + (generator.random() < 0.2))
    scheduler.submit(submission("history", units(10 * STRETCH)), 0.0)
    machine.run()
    late = refused = 0
    for _ in range(50):
        due_s = machine.now + 25.0
        scheduler.submit(submission("other", units(12), priority=4.0, owner="other"), machine.now)
        mine = submission("mine", units(10), due_s, owner="mine")
        admitted = scheduler.submit(mine, machine.now) is None
        machine.run()
        refused += not admitted
        late += admitted and machine.finished["mine"] > due_s
    return late, refused


def test_what_is_admitted_is_in_time_also_where_work_is_uneven() -> None:
    """Without a margin FAIR does others' work until, as it was foretold, the job cannot wait."""
    late, _ = late_jobs(most=1.0)
    assert late > 20
    late, refused = late_jobs(most=MOST)
    assert late < 5
    assert refused < 5
