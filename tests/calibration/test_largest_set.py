"""The order by cost and the bisection, on errors that are made up."""

from __future__ import annotations

import pytest

from wan_trt.calibration.largest_set import largest_within, order_by_cost


def test_what_costs_least_per_byte_comes_first() -> None:
    errors = {"small": 1.0, "large": 2.0, "none": 0.0, "also none": 0.0}
    nbytes = {"small": 10, "large": 100, "none": 10, "also none": 1}
    assert order_by_cost(errors, nbytes) == ("also none", "none", "large", "small")


@pytest.mark.parametrize("count", [1, 2, 7, 340])
def test_the_largest_number_that_fits(count: int) -> None:
    for fits in {0, 1, count // 2, count - 1, count}:
        found, trials = largest_within(count, lambda n: float(n), budget=fits)
        assert found == fits
        assert len(trials) <= 10
        assert trials[0].count == count


def test_all_at_once_is_one_trial() -> None:
    assert len(largest_within(340, lambda _: 0.5, budget=1.0)[1]) == 1


def test_a_larger_budget_never_gives_less_even_where_errors_fall() -> None:
    errors = [0.0, 3.0, 1.0, 4.0, 2.0, 6.0, 5.0, 9.0, 7.0]
    found = [largest_within(8, lambda n: errors[n], budget / 2)[0] for budget in range(20)]
    assert found == sorted(found)
    assert all(errors[count] <= budget / 2 for budget, count in enumerate(found))
