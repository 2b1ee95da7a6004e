"""Column scales and bias shifts: what they promise, on a linear and on the golden checkpoint."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from calibration_samples import GoldenCalibration

from wan_trt.calibration.fitting import Read, fit
from wan_trt.calibration.seen_inputs import MOST_ROWS, InputObserver, SeenInput
from wan_trt.calibration.velocity_error import VelocityErrors
from wan_trt.engine.request import ExpertName
from wan_trt.export.modeling.module import Linear
from wan_trt.export.quantize.e4m3 import quantise, rounded, scales_for
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


def fit_to(linear: Linear, seen: torch.Tensor, greatest: float | None = None) -> Fitted:
    """All rows are drawn."""
    read = Read(SeenInput(seen.double().mean(0), seen), greatest)
    [fitted] = fit(linear.weight, linear.bias is not None, [read])
    return fitted


def errors(
    weight: torch.Tensor, scales: torch.Tensor, seen: torch.Tensor, greatest: float | None = None
) -> torch.Tensor:
    """[n, out]: what rounding changes of seen @ weight."""
    read = seen if greatest is None else rounded(seen, torch.tensor(greatest) / 448)
    return read @ rounded(weight, scales) - seen @ weight


@pytest.mark.parametrize("greatest", [None, 4.0])
def test_fitted_columns_change_outputs_less(
    linear: Linear, seen: torch.Tensor, greatest: float | None
) -> None:
    """Beside a constant, which the bias takes back; also of inputs that were not drawn."""
    weight = linear.weight
    found = torch.from_numpy(fit_to(linear, seen[:400], greatest).column_scales)
    least = scales_for(weight.abs().amax(0))
    assert (found[:-1] >= least[:-1]).all()
    assert (found[:-1] < 2 * least[:-1]).all()
    assert found[-1] == 1
    before, after = (
        errors(weight, scales, seen[400:], greatest).var(0).sum() for scales in (least, found)
    )
    assert after < (0.9 if greatest is None else 0.95) * before


def test_columns_are_fitted_to_what_is_read(linear: Linear, seen: torch.Tensor) -> None:
    """Weights whose inputs hardly vary may be rounded coarsely."""
    quiet = seen * torch.where(torch.arange(INPUTS) < INPUTS // 8, 1.0, 0.01)
    scales = torch.from_numpy(fit_to(linear, quiet).column_scales)
    general = torch.from_numpy(fit_to(linear, seen).column_scales)
    found, other = (errors(linear.weight, s, quiet).var(0).sum() for s in (scales, general))
    assert found < 0.5 * other


def test_experts_that_share_a_matrix_share_its_columns(linear: Linear, seen: torch.Tensor) -> None:
    """Their biases are their own."""
    reads = [Read(SeenInput(x.double().mean(0), x), 4.0) for x in (seen, seen.roll(1, 1))]
    first, second = fit(linear.weight, True, reads)
    assert first.columns_digest == second.columns_digest
    assert first.shift_digest != second.shift_digest


def test_what_export_stores_is_what_was_fitted(linear: Linear, seen: torch.Tensor) -> None:
    scales = torch.from_numpy(fit_to(linear, seen).column_scales)
    stored = quantise(linear.weight, scales)
    assert torch.equal(stored.scales, scales)
    assert torch.equal(stored.values.float() * stored.scales, rounded(linear.weight, scales))


def test_a_scale_that_does_not_hold_the_greatest_magnitude_saturates(linear: Linear) -> None:
    stored = quantise(linear.weight, torch.full((OUTPUTS,), 0.5 / 448))
    assert torch.equal(stored.values.float().abs().amax(0)[:-1], torch.full((OUTPUTS - 1,), 448.0))


@pytest.mark.parametrize("greatest", [None, 4.0])
def test_the_shift_takes_back_the_mean_of_the_error(
    linear: Linear, seen: torch.Tensor, greatest: float | None
) -> None:
    """Whether or not the input is rounded too."""
    observer = InputObserver()
    for part in torch.tensor_split(seen, 4):  # calls of different length
        observer.see(part[None])
    [fitted] = fit(linear.weight, True, [Read(observer.seen(), greatest)])
    assert fitted.bias_shift is not None
    error = errors(linear.weight, torch.from_numpy(fitted.column_scales), seen, greatest)
    assert error.mean(0).abs().max() > 0.01
    assert (error + torch.from_numpy(fitted.bias_shift)).mean(0).abs().max() < 1e-5


def test_rows_are_drawn_from_all_calls() -> None:
    """Evenly, however long each is, and the same ones again."""
    observers = InputObserver(), InputObserver()
    counts = (3 * MOST_ROWS, 10, MOST_ROWS)
    for observer in observers:
        for call, count in enumerate(counts):
            observer.see(torch.full((count, 2), float(call)))
    first, again = (observer.seen() for observer in observers)
    assert torch.equal(first.rows, again.rows)
    assert first.rows.shape == (MOST_ROWS, 2)
    assert first.mean[0] == pytest.approx((10 + 2 * MOST_ROWS) / sum(counts))
    share = (first.rows[:, 0] == 2).float().mean()
    assert share == pytest.approx(counts[2] / sum(counts), abs=0.05)


def test_a_linear_without_bias_has_no_shift(seen: torch.Tensor) -> None:
    linear = Linear(INPUTS, OUTPUTS, bias=False).requires_grad_(False)
    torch.nn.init.normal_(linear.weight)
    assert fit_to(linear, seen).bias_shift is None


def test_velocities_of_the_golden_checkpoint_are_nearer(calibration: GoldenCalibration) -> None:
    scales = calibration.found.scales
    spread = calibration.recording.spread(scales.origin.boundary, 2)
    linears = sorted(calibration.found.rounded.weights)
    assert all(scales.fitted[expert].keys() == set(linears) for expert in ExpertName)
    found = {}
    for name, used in (("fitted", scales), ("plain", Scales(scales.origin, scales.ranges))):
        found[name] = VelocityErrors(calibration.found.graphs, spread, used).together(linears)
    for expert in ExpertName:
        assert found["fitted"][expert].total < 0.7 * found["plain"][expert].total


def test_experts_with_the_same_weights_have_the_same_columns(
    calibration: GoldenCalibration,
) -> None:
    """So they go on sharing one file; their biases are their own."""
    high, low = (calibration.found.scales.fitted[expert] for expert in ExpertName)
    for name, fitted in high.items():
        assert fitted.columns_digest == low[name].columns_digest
    assert any(fitted.shift_digest != low[name].shift_digest for name, fitted in high.items())
    assert all(np.isfinite(fitted.column_scales).all() for fitted in high.values())
