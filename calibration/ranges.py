"""The range of one tensor over many calls, by one of three methods.

max         the greatest magnitude: nothing saturates
percentile  the magnitude that a share of the values does not exceed
mse         the one at which rounding and saturation together change the values least
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import torch

from wan_trt.calibration.modelopt import (
    greatest_magnitude,
    histogram,
    least_square_range,
    make_observer,
)
from wan_trt.engine.errors import InputError

DEFAULT_PERCENTILE = 99.99


class MethodName(StrEnum):
    MAX = "max"
    PERCENTILE = "percentile"
    MSE = "mse"


@dataclass(frozen=True)
class Method:
    """`percentile` in percent, above 0 and at most 100; None where the method has none. Raises
    InputError."""

    name: MethodName = MethodName.MAX
    percentile: float | None = None

    def __post_init__(self) -> None:
        has_one = self.name is MethodName.PERCENTILE
        if has_one and self.percentile is None:
            object.__setattr__(self, "percentile", DEFAULT_PERCENTILE)
        if self.percentile is None:
            return
        if not has_one or not 0 < self.percentile <= 100:
            raise InputError(
                f"{self.percentile} with the method {self.name}",
                expected="a number above 0, at most 100, with the method percentile",
                action="leave it out, or change it",
                field="percentile",
            )

    def __str__(self) -> str:
        return self.name if self.percentile is None else f"{self.name} {self.percentile:g}"


class RangeObserver:
    """Sees a tensor in call after call; ModelOpt's calibrators keep what the method needs."""

    def __init__(self, method: Method) -> None:
        self._method = method
        self._greatest = make_observer("max")
        self._histogram = None if method.name is MethodName.MAX else make_observer("histogram")

    def see(self, tensor: torch.Tensor) -> None:
        """Leaves the tensor as it is. Its values are finite."""
        self._greatest(tensor)
        # A histogram that begins with zeros only has bins of no width.
        if self._histogram is not None and tensor.any():
            self._histogram(tensor)

    def range(self) -> float:
        """> 0 and at most the greatest magnitude; 0 where there were only zeros, NaN where there
        was nothing or not only finite values."""
        greatest = greatest_magnitude(self._greatest)
        if not greatest or not math.isfinite(greatest) or self._histogram is None:
            return greatest
        counts, width = histogram(self._histogram)
        if self._method.percentile is not None:
            share = counts.cumsum(0) / counts.sum()
            position = int(torch.searchsorted(share, self._method.percentile / 100))
            return min(greatest, (position + 1) * width)
        middles = (torch.arange(len(counts), dtype=torch.float64) + 0.5) * width
        return least_square_range(middles.clamp(max=greatest).float(), counts, greatest)
