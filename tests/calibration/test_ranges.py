"""The three methods on tensors whose answer is known."""

from __future__ import annotations

import math

import pytest
import torch

from wan_trt.calibration.modelopt import quantise_e4m3
from wan_trt.calibration.ranges import Method, MethodName, RangeObserver
from wan_trt.engine.errors import InputError


def observe(method: Method, *tensors: torch.Tensor) -> float:
    observer = RangeObserver(method)
    for tensor in tensors:
        observer.see(tensor)
    return observer.range()


@pytest.fixture
def calls() -> list[torch.Tensor]:
    """Growing from call to call, so that the histogram has to."""
    generator = torch.Generator().manual_seed(3)
    return [scale * torch.randn(50, 400, generator=generator) for scale in (0.5, 1.0, 3.0)]


def test_max_is_the_greatest_magnitude(calls: list[torch.Tensor]) -> None:
    assert observe(Method(), *calls) == max(float(call.abs().max()) for call in calls)


@pytest.mark.parametrize("percentile", [50.0, 99.0, 99.9, 100.0])
def test_a_percentile_is_that_of_all_values(calls: list[torch.Tensor], percentile: float) -> None:
    values = torch.cat(calls).abs().flatten().double()
    found = observe(Method(MethodName.PERCENTILE, percentile), *calls)
    bin_width = float(calls[0].abs().max()) / 2048
    assert found == pytest.approx(float(values.quantile(percentile / 100)), abs=2.5 * bin_width)
    assert found <= float(values.max())


def test_mse_is_no_worse_than_max_and_cuts_off_a_lonely_outlier() -> None:
    # E4M3 rounds relatively: saturation pays only where an outlier pushes the rest among the
    # subnormal numbers.
    values = torch.full((1000, 100), 1e-3) * torch.rand(1000, 100)
    values[0, 0] = 3.0
    found = observe(Method(MethodName.MSE), values)
    assert 0 < found <= 3.0

    def error(greatest: float) -> float:
        rounded = quantise_e4m3(values, torch.tensor(greatest))
        return float((rounded - values).double().square().sum())

    assert error(found) <= error(3.0) * 1.01


def test_zeros_at_first_are_no_obstacle(calls: list[torch.Tensor]) -> None:
    zeros = torch.zeros(4, 4)
    for name in MethodName:
        assert observe(Method(name), zeros, *calls) > 0
        assert observe(Method(name), zeros) == 0
        assert math.isnan(observe(Method(name)))


def test_e4m3_is_torch_s(calls: list[torch.Tensor]) -> None:
    scale = 2.0 / 448
    expected = (calls[2] / scale).clamp(-448, 448).to(torch.float8_e4m3fn).float() * scale
    torch.testing.assert_close(quantise_e4m3(calls[2], torch.tensor(2.0)), expected)


@pytest.mark.parametrize(
    ("name", "percentile"), [("percentile", 0.0), ("percentile", 100.1), ("max", 99.0)]
)
def test_percentiles_that_are_none(name: str, percentile: float) -> None:
    with pytest.raises(InputError, match=f"percentile: {percentile} with the method {name}"):
        Method(MethodName(name), percentile)
