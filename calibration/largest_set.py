"""The largest set within a budget, found by few measurements (pure)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from wan_trt.export.quantize.evidence import Trial


def order_by_cost(errors: Mapping[str, float], nbytes: Mapping[str, int]) -> tuple[str, ...]:
    """Names by the error that a byte of theirs costs alone, the least first."""
    return tuple(sorted(errors, key=lambda name: (errors[name] / nbytes[name], name)))


def largest_within(
    count: int, error_of: Callable[[int], float], budget: float
) -> tuple[int, tuple[Trial, ...]]:
    """How many of `count`, in their order, fit: bisection over `error_of` the first n together.

    The answer was itself measured to be within the budget, or is 0; a larger budget never gives
    less. Trials are in the order in which they were made.
    """
    trials: list[Trial] = []
    fits, fails = 0, count + 1
    tried = count  # all of them, first: often that is the answer
    while fits + 1 < fails:
        trials.append(Trial(tried, error_of(tried)))
        if trials[-1].error <= budget:
            fits = tried
        else:
            fails = tried
        tried = (fits + fails) // 2
    return fits, tuple(trials)
