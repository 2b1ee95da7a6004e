"""When a client tries again, by a clock and a chance of the test's own."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wan_trt.engine.errors import InputError
from wan_trt.server.client.retries import Outage, Retries
from wan_trt.server.errors import UnavailableError


def away(retry_after_s: float | None = None) -> UnavailableError:
    error = UnavailableError("nobody there")
    error.retry_after_s = retry_after_s
    return error


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_pauses_double_up_to_the_longest() -> None:
    retries = Retries(shortest_s=0.1, longest_s=1.0)
    assert [retries.pause_s(n, None, chance=0) for n in (1, 2, 3, 4, 5, 99)] == pytest.approx(
        [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    )
    assert retries.pause_s(4, None, chance=1) == pytest.approx(0.4)
    assert retries.pause_s(1, 5.0, chance=0) == pytest.approx(5.1)


@given(st.integers(1, 10_000), st.floats(0, 1), st.floats(0, 100))
def test_a_pause_is_never_shorter_than_what_was_told(n: int, chance: float, told_s: float) -> None:
    retries = Retries()
    assert told_s < retries.pause_s(n, told_s, chance) <= told_s + retries.longest_s


def test_patience_counts_from_the_last_answer() -> None:
    clock = Clock()
    told: list[float] = []
    outage = Outage(
        Retries(10.0, 1.0, 1.0), lambda _, left_s: told.append(left_s), clock, lambda: 0
    )
    clock.now_s += 8
    assert outage.pause(away()).seconds == 1
    assert outage.pause(away()).seconds == 1
    assert told == [2.0], "once for each outage"
    clock.now_s += 1
    outage.over()
    clock.now_s += 9
    assert outage.pause(away()).seconds == 1
    clock.now_s += 0.5
    last = away()
    with pytest.raises(UnavailableError) as raised:
        outage.pause(last)
    assert raised.value is last


@pytest.mark.parametrize("told_s", [30.5, math.inf])
def test_a_wait_that_is_too_long_is_not_begun(told_s: float) -> None:
    with pytest.raises(UnavailableError):
        Outage(Retries(30.0)).pause(away(told_s))


def test_no_patience() -> None:
    with pytest.raises(UnavailableError):
        Outage(Retries(0)).pause(away())
    with pytest.raises(InputError, match="0 or more"):
        Retries(math.nan)
