"""The timetable's blocks against plain sums."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wan_trt.engine.scheduling.timetable import Promise, Timetable


def latest_start_s(promises: list[Promise], before: Promise | None = None) -> float:
    """By the definition: due time less all work due no later."""
    ordered = sorted(promises)
    counted = ordered[: ordered.index(before)] if before else ordered
    work_s, latest = 0.0, math.inf
    for promise in counted:
        work_s += promise.work_s
        latest = min(latest, promise.due_s - work_s)
    return latest


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 9)), min_size=1, max_size=180),
    st.data(),
)
def test_changes_leave_the_sums_right(work: list[tuple[int, int]], data: st.DataObject) -> None:
    promises = [Promise(f"{n}", n, due, seconds) for n, (due, seconds) in enumerate(work)]
    half = len(promises) // 2
    timetable = Timetable(promises[:half])
    for promise in promises[half:]:
        timetable.add(promise)
    for promise in data.draw(st.lists(st.sampled_from(promises), unique=True, max_size=20)):
        match data.draw(st.sampled_from(["remove", "work", "postpone"])):
            case "remove":
                timetable.remove(promise)
                promises.remove(promise)
            case "work":
                timetable.work_left(promise, data.draw(st.integers(0, 9)))
            case "postpone":
                timetable.postpone(promise, promise.due_s + data.draw(st.integers(0, 99)))
    assert list(timetable) == sorted(promises)
    assert timetable.latest_start_s() == latest_start_s(promises)
    for promise in promises[:20]:
        assert timetable.latest_start_s(promise) == latest_start_s(promises, promise)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 6)), max_size=12), st.integers(1, 9))
def test_the_earliest_place_is_feasible_and_none_earlier_is(
    work: list[tuple[int, int]], seconds: int
) -> None:
    promises: list[Promise] = []
    for number, (due, own) in enumerate(work):  # only what leaves it feasible
        promise = Promise(f"{number}", number, due, own)
        if latest_start_s([*promises, promise]) >= 0:
            promises.append(promise)
    earliest = Timetable(promises).earliest_s(0.0, seconds)

    def feasible(due_s: float) -> bool:
        return latest_start_s([*promises, Promise("new", 99, due_s, seconds)]) >= 0

    assert feasible(earliest)
    assert not any(feasible(due_s) for due_s in range(math.ceil(earliest)))


def test_a_violation_names_the_first_who_is_late() -> None:
    promises = [Promise("a", 0, 3, 2), Promise("b", 1, 4, 3), Promise("c", 2, 9, 6)]
    timetable = Timetable(promises)
    violation = timetable.violation(now=0)
    assert violation is not None
    assert (violation.promise.job_id, violation.late_s) == ("b", 2)
    assert timetable.violation(now=0, tolerance_s=2) is None
    timetable.remove(promises[0])
    assert timetable.violation(now=0) is None


def test_a_promise_that_was_not_made_cannot_be_changed() -> None:
    with pytest.raises(AssertionError, match="not in the timetable"):
        Timetable().work_left(Promise("a", 0, 1, 1), 0.5)
