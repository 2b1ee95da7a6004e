"""Sensitivity on the golden checkpoint, and the policy that comes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from calibration_samples import GoldenCalibration, write_small_sample
from numpy.typing import NDArray

from wan_trt.calibration.calibrate import CalibrationOptions
from wan_trt.calibration.fake_quantised import fake_quantised
from wan_trt.calibration.search import search_calibrated, search_policy
from wan_trt.calibration.torch_executor import run_module
from wan_trt.calibration.velocity_error import VelocityErrors
from wan_trt.calibration.writers import Arrays
from wan_trt.engine.errors import InputError
from wan_trt.engine.request import ExpertName
from wan_trt.export.modeling.module import ExportModule, Linear
from wan_trt.export.quantize.policy import DENOISER, Policy, flat

CALLS = 1
FIRST = "blocks.0.self_attn.q"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def errors(calibration: GoldenCalibration) -> VelocityErrors:
    found = calibration.found
    spread = calibration.recording.spread(found.scales.origin.boundary, CALLS)
    return VelocityErrors(found.graphs, spread, found.scales)


@pytest.fixture
def denoiser(calibration: GoldenCalibration) -> ExportModule:
    """The high-noise expert's."""
    return calibration.found.graphs.of_expert(DENOISER, ExpertName.HIGH)


def e4m3(x: torch.Tensor, greatest: torch.Tensor) -> torch.Tensor:
    # Multiplied, as ModelOpt does it: a division would break ties otherwise.
    scale = 448 / greatest
    return (x * scale).clamp(-448, 448).to(torch.float8_e4m3fn).float() / scale


def test_a_fake_quantised_linear_is_torch_s_own_float8(denoiser: ExportModule) -> None:
    linear = denoiser.get_submodule(FIRST)
    assert isinstance(linear, Linear)
    weight, bias = linear.weight.clone(), linear.bias
    assert bias is not None
    x = torch.randn(7, weight.shape[0], generator=torch.Generator().manual_seed(0))
    expected = e4m3(x, torch.tensor(1.5)) @ e4m3(weight, weight.abs().amax(0)) + bias
    with torch.no_grad():
        plain = linear(x)
        with fake_quantised(denoiser, {FIRST: 1.5}):
            torch.testing.assert_close(linear(x), expected, atol=1e-5, rtol=1e-5)
        assert torch.equal(linear(x), plain)
    assert torch.equal(linear.weight, weight)


def test_a_linear_that_fails_keeps_its_weight(denoiser: ExportModule) -> None:
    linear = denoiser.get_submodule(FIRST)
    assert isinstance(linear, Linear)
    weight = linear.weight.clone()
    with fake_quantised(denoiser, {FIRST: 1.0}), pytest.raises(RuntimeError):
        linear(torch.ones(2, 3))
    assert torch.equal(linear.weight, weight)


@pytest.mark.parametrize(
    ("graph", "linear"),
    [
        (DENOISER, FIRST),
        ("text_context", "blocks.1.cross_attn.v"),
        ("face_context", "face_adapter.fuser_blocks.0.linear1_k"),
    ],
)
def test_the_error_is_that_of_the_velocity(
    calibration: GoldenCalibration, errors: VelocityErrors, graph: str, linear: str
) -> None:
    """Also for a linear of a context, of which the denoiser reads what it computes."""
    found, expert = calibration.found, ExpertName.LOW
    (call,) = calibration.recording.spread(0.9, CALLS)[expert]

    def velocity(quantised: str) -> NDArray[np.float64]:
        def run(name: str, inputs: Arrays) -> Arrays:
            ranges = {linear: found.scales.ranges[expert][linear]}
            module, fitted = found.graphs.of_expert(name, expert), found.scales.fitted[expert]
            with fake_quantised(module, ranges if name == quantised else {}, fitted):
                return run_module(module, inputs, CPU)

        inputs = call.all_inputs(lambda context: run(context.graph, context.inputs))
        return run(DENOISER, inputs)["velocity"].astype(np.float64)

    exact, changed = velocity(""), velocity(graph)
    expected = np.square(changed - exact).sum() / np.square(exact).sum()
    assert expected > 0
    assert errors.alone([linear])[linear][expert] == pytest.approx(expected, rel=1e-6)
    assert errors.together([])[expert] == 0


def test_a_policy_is_within_its_budget_and_a_larger_one_gives_no_less(
    calibration: GoldenCalibration, errors: VelocityErrors
) -> None:
    candidates = calibration.found.graphs.candidates
    linears = flat(candidates)
    whole = max(errors.together(linears).values())
    found = []
    for budget in (whole / 4, whole * 1.01):
        text = search_calibrated(calibration.found, calibration.recording, budget, CALLS)
        policy = Policy.parse(text, "found")
        chosen = set(flat(policy.apply(candidates, layers=10).linears))
        assert max(errors.together(sorted(chosen)).values()) <= budget
        assert f"{len(chosen)} of {len(linears)} linears" in text
        for name in linears:
            assert f"{'fp8 ' if name in chosen else 'high'} {name} " in text
        found.append(chosen)
    assert len(found[0]) < len(found[1])
    assert found[0] <= found[1] == set(linears)


def test_a_budget_that_nothing_fits(calibration: GoldenCalibration) -> None:
    with pytest.raises(InputError, match="budget: 1e-30 is less than any linear costs"):
        search_calibrated(calibration.found, calibration.recording, 1e-30, CALLS)


def test_attention_is_not_searched(golden: Path, tmp_path: Path) -> None:
    policy = Policy.parse('[[attention]]\nblocks = ":"\nprecision = "fp8"\n', "own")
    options = CalibrationOptions(policy=policy)
    write_small_sample(tmp_path / "inputs" / "one")
    with pytest.raises(InputError, match="the policy own quantises nothing of this model"):
        search_policy(golden / "checkpoint", tmp_path / "inputs", tmp_path, options, 1.0, 1)


@pytest.mark.parametrize(
    ("budget", "calls", "field"), [(0.0, 1, "budget"), (float("nan"), 1, "budget"), (1, 0, "calls")]
)
def test_numbers_that_are_none(tmp_path: Path, budget: float, calls: int, field: str) -> None:
    with pytest.raises(InputError) as error:
        search_policy(tmp_path, tmp_path, tmp_path, CalibrationOptions(), budget, calls)
    assert error.value.field == field
