"""Column ranges and bias shifts: what they promise, on a linear and on the golden checkpoint."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from calibration_samples import GoldenCalibration

from wan_trt.calibration.fitting import MeanObserver, fit, rounded
from wan_trt.calibration.modelopt import least_square_columns
from wan_trt.calibration.velocity_error import VelocityErrors
from wan_trt.engine.request import ExpertName
from wan_trt.export.modeling.module import Linear
from wan_trt.export.quantize.e4m3 import quantise
from wan_trt.export.quantize.fitted import Fitted
from wan_trt.export.quantize.scales import Scales

INPUTS, OUTPUTS = 96, 40


@pytest.fixture
def linear() -> Linear:
    """Its last column is zeros, as of a channel that was pruned."""
    random = torch.Generator().manual_seed(3)
    made = Linear(INPUTS, OUTPUTS).requires_grad_(False)
    made.weight.data = torch.randn(INPUTS, OUTPUTS, generator=random)
    made.weight.data[:, -1] = 0
    return made


@pytest.fixture
def seen() -> torch.Tensor:
    """Inputs whose mean is far from 0, as after a GELU."""
    return torch.randn(500, INPUTS, generator=torch.Generator().manual_seed(4)) + 0.7


def fit_to(linear: Linear, mean: torch.Tensor) -> Fitted:
    return fit(linear, least_square_columns(linear.weight), mean)


def squares(weight: torch.Tensor, ranges: torch.Tensor) -> torch.Tensor:
    return (rounded(weight, ranges) - weight).square().sum(0)


def test_fitted_columns_are_rounded_with_less_error(linear: Linear, seen: torch.Tensor) -> None:
    weight = linear.weight
    found = torch.from_numpy(fit_to(linear, seen.double().mean(0)).column_ranges)
    greatest = weight.abs().amax(0)
    assert (found[:-1] >= greatest[:-1]).all()
    assert (found[:-1] < 2 * greatest[:-1]).all()
    assert found[-1] == 0
    before, after = squares(weight, greatest), squares(weight, found)
    assert (after <= before).all()
    assert after.sum() < 0.9 * before.sum()


def test_what_export_stores_is_what_was_fitted(linear: Linear, seen: torch.Tensor) -> None:
    ranges = torch.from_numpy(fit_to(linear, seen.double().mean(0)).column_ranges)
    stored = quantise(linear.weight, ranges)
    torch.testing.assert_close(
        stored.values.float() * stored.scales, rounded(linear.weight, ranges), rtol=0.07, atol=0.01
    )
    error = (stored.values.float() * stored.scales - linear.weight).square().sum()
    assert error == pytest.approx(float(squares(linear.weight, ranges).sum()), rel=1e-3)


def test_a_range_below_the_greatest_magnitude_saturates(linear: Linear) -> None:
    stored = quantise(linear.weight, torch.full((OUTPUTS,), 0.5))
    assert torch.equal(stored.values.float().abs().amax(0)[:-1], torch.full((OUTPUTS - 1,), 448.0))


def test_the_shift_takes_back_the_mean_of_the_error(linear: Linear, seen: torch.Tensor) -> None:
    observer = MeanObserver()
    for part in torch.tensor_split(seen, 4):  # calls of different length
        observer.see(part[None])
    fitted = fit_to(linear, observer.mean())
    assert fitted.bias_shift is not None
    weight = rounded(linear.weight, torch.from_numpy(fitted.column_ranges))
    error = seen @ (weight - linear.weight)
    assert error.mean(0).abs().max() > 0.01
    assert (error + torch.from_numpy(fitted.bias_shift)).mean(0).abs().max() < 1e-5


def test_a_linear_without_bias_has_no_shift(seen: torch.Tensor) -> None:
    linear = Linear(INPUTS, OUTPUTS, bias=False).requires_grad_(False)
    torch.nn.init.normal_(linear.weight)
    assert fit_to(linear, seen.double().mean(0)).bias_shift is None


def test_velocities_of_the_golden_checkpoint_are_nearer(calibration: GoldenCalibration) -> None:
    scales = calibration.found.scales
    spread = calibration.recording.spread(scales.origin.boundary, 2)
    linears = list(scales.ranges[ExpertName.HIGH])
    assert all(scales.fitted[expert].keys() == set(linears) for expert in ExpertName)
    errors = {}
    for name, used in (("fitted", scales), ("plain", Scales(scales.origin, scales.ranges))):
        errors[name] = VelocityErrors(calibration.found.graphs, spread, used).together(linears)
    for expert in ExpertName:
        assert errors["fitted"][expert].total < 0.9 * errors["plain"][expert].total


def test_experts_with_the_same_weights_have_the_same_columns(
    calibration: GoldenCalibration,
) -> None:
    """So they go on sharing one file; their biases are their own."""
    high, low = (calibration.found.scales.fitted[expert] for expert in ExpertName)
    for name, fitted in high.items():
        assert fitted.columns_digest == low[name].columns_digest
    assert any(fitted.shift_digest != low[name].shift_digest for name, fitted in high.items())
    assert all(np.isfinite(fitted.column_ranges).all() for fitted in high.values())
