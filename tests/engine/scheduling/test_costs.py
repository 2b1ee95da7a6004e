"""Seconds of a pass: measured, or guessed from its work."""

from __future__ import annotations

from functools import partial

import pytest
from scheduled import HIGH, LOW, SIZE, Machine, key, submission, table, units

from wan_trt.engine.geometry import FaceGeometry, Geometry, ImageGeometry
from wan_trt.engine.memory.footprint import VideoSize
from wan_trt.engine.scheduling.costs import CostKey, CostTable
from wan_trt.engine.scheduling.operations import operations
from wan_trt.engine.scheduling.preference import Policy
from wan_trt.engine.scheduling.scheduler import Scheduler
from wan_trt.engine.scheduling.unit import Stage
from wan_trt.engine.scheduling.work import Run

LARGE = VideoSize(720, 1280, 77)
ANIMATE_14B = Geometry(
    dim=5120,
    heads=40,
    layers=40,
    text_dim=4096,
    text_tokens=512,
    image=ImageGeometry(1280, 257, 224),
    face=FaceGeometry(8, 512, 512),
)


def pixels(key: CostKey) -> float:
    return float(key.size.height * key.size.width)


def test_what_was_never_measured_is_guessed_from_its_work() -> None:
    costs = CostTable(pixels, operations_per_s=480 * 832)
    step = costs.cost(key(Stage.DENOISE, HIGH))
    assert (step.seconds, step.measured) == (1.0, False)


def test_a_guess_follows_measurements_of_its_like() -> None:
    """Another expert, another size: at the speed that was seen. Another stage: not if its own
    was."""
    costs = CostTable(pixels, operations_per_s=1.0)
    low, large = (costs.cost(k) for k in (key(Stage.DENOISE, LOW), key(Stage.DENOISE, HIGH, LARGE)))
    decode = costs.cost(key(Stage.DECODE))
    costs.record(costs.cost(key(Stage.DENOISE, HIGH)), 3.0)
    assert low.seconds == pytest.approx(3.0)
    assert large.seconds == pytest.approx(3.0 * pixels(large.key) / pixels(low.key))
    assert decode.seconds == pytest.approx(3.0)  # better than nothing
    costs.record(costs.cost(key(Stage.DECODE, size=LARGE)), 1.0)
    assert decode.seconds == pytest.approx(pixels(low.key) / pixels(large.key))


def test_another_backend_is_another_matter() -> None:
    costs = table()
    costs.record(costs.cost(key(Stage.DENOISE, HIGH)), 7.0)
    cpu = CostKey(Stage.DENOISE, "denoiser.high", SIZE, "fp8", "cpu")
    assert costs.cost(cpu).seconds == 1.0


def test_wild_measurements_do_not_count() -> None:
    costs = table()
    step = costs.cost(key(Stage.DENOISE, HIGH))
    for seconds in (2.0, 2.0, 90.0, 2.0, 0.01, 2.0):
        costs.record(step, seconds)
    assert step.seconds == 2.0


def test_a_lasting_change_is_followed_and_a_small_one_is_not_published() -> None:
    costs = table()
    step = costs.cost(key(Stage.DENOISE, HIGH))
    costs.record(step, 2.0)
    version = costs.version
    for _ in range(9):
        costs.record(step, 2.05)
    assert (step.seconds, costs.version) == (2.0, version)
    for _ in range(9):
        costs.record(step, 3.0)
    assert step.seconds == 3.0
    assert costs.version == version + 1


def test_a_table_goes_on_where_another_ended() -> None:
    first = table()
    first.record(first.cost(key(Stage.DECODE)), 5.0)
    second = CostTable(lambda _: 1.0, 1.0, known=first.measured())
    assert second.measured() == {key(Stage.DECODE): 5.0}
    assert second.cost(key(Stage.CONDITIONING)).seconds == 5.0


def test_time_does_not_run_backwards() -> None:
    costs = table()
    with pytest.raises(ValueError, match="took -1"):
        costs.record(costs.cost(key(Stage.DECODE)), -1)


@pytest.mark.parametrize(("size", "counted"), [(SIZE, 1717e12), (LARGE, 6607e12)])
def test_operations_are_about_those_counted_on_the_real_model(
    size: VideoSize, counted: float
) -> None:
    count = partial(operations, geometry=ANIMATE_14B)
    assert count(key(Stage.DENOISE, HIGH, size)) == pytest.approx(counted, rel=0.05)
    decode = {SIZE: 261.8e12, LARGE: 607.8e12}[size]
    assert count(key(Stage.DECODE, size=size)) == pytest.approx(decode, rel=0.05)


def test_jobs_are_sorted_anew_when_costs_change() -> None:
    """Three cheap units looked longer than one dear unit."""
    costs = table()
    machine = Machine(Scheduler(costs, Policy.SHORTEST))
    dear = (Run(key(Stage.DECODE)),)
    machine.scheduler.submit(submission("dear", dear), now=0)
    machine.scheduler.submit(submission("cheap", units(3)), now=0)
    costs.record(costs.cost(key(Stage.DECODE)), 8.0)
    costs.record(costs.cost(key(Stage.CONDITIONING)), 1.0)
    assert machine.run() == ["cheap", "cheap", "cheap", "dear"]


def test_a_bound_follows_costs() -> None:
    """It was made when everything looked ten times as long as it is."""
    costs = table(10.0)
    scheduler = Scheduler(costs)
    scheduler.submit(submission("a", units(2)), now=0)
    scheduler.submit(submission("b", units(3)), now=0)
    assert scheduler.fifo_s("b") == 50.0
    decision = scheduler.next(0)
    assert decision is not None
    scheduler.done(decision, 1.0)
    scheduler.next(1)
    assert scheduler.fifo_s("b") == 5.0


def test_a_slow_start_does_not_make_every_policy_first_come_first_served() -> None:
    """The first unit takes a hundred times as long as the rest: bounds slip by as much."""
    fair = Machine(Scheduler(table(), Policy.FAIR))
    for number in range(5):
        fair.scheduler.submit(submission(f"many-{number}", units(8), owner="many"), now=0)
    fair.scheduler.submit(submission("one", units(8), owner="one"), now=0)
    fair.seconds = lambda decision: 1.0 if fair.decisions[0] is not decision else 100.0
    fair.run()
    assert list(fair.finished).index("one") == 1
