"""Sensitivity on the golden checkpoint, and the policy that comes of it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from calibration_samples import GoldenCalibration, write_small_sample

from wan_trt.calibration.calibrate import CalibrationOptions
from wan_trt.calibration.fake_quantised import fake_quantised
from wan_trt.calibration.search import search_calibrated, search_policy
from wan_trt.calibration.torch_executor import run_denoiser
from wan_trt.calibration.velocity_error import VelocityErrors
from wan_trt.engine.errors import InputError
from wan_trt.engine.request import ExpertName
from wan_trt.export.modeling.module import Linear
from wan_trt.export.quantize.evidence import worst
from wan_trt.export.quantize.policy import Policy, candidates
from wan_trt.export.quantize.policy_text import policy_text

CALLS = 1
FIRST = "blocks.0.self_attn.q"


@pytest.fixture(scope="module")
def errors(calibration: GoldenCalibration) -> VelocityErrors:
    found = calibration.found
    spread = calibration.recording.spread(found.scales.origin.boundary, CALLS)
    return VelocityErrors(found.denoisers, spread, found.scales)


def quantised_by(policy: Policy, calibration: GoldenCalibration) -> frozenset[str]:
    denoiser = calibration.found.denoisers.of_expert(ExpertName.HIGH)
    return policy.apply(candidates(denoiser), denoiser.sizes.layers).linears


def e4m3(x: torch.Tensor, greatest: torch.Tensor) -> torch.Tensor:
    # Multiplied, as ModelOpt does it: a division would break ties otherwise.
    scale = 448 / greatest
    return (x * scale).clamp(-448, 448).to(torch.float8_e4m3fn).float() / scale


def test_a_fake_quantised_linear_is_torch_s_own_float8(calibration: GoldenCalibration) -> None:
    denoiser = calibration.found.denoisers.of_expert(ExpertName.HIGH)
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


def test_a_linear_that_fails_keeps_its_weight(calibration: GoldenCalibration) -> None:
    denoiser = calibration.found.denoisers.of_expert(ExpertName.HIGH)
    linear = denoiser.get_submodule(FIRST)
    assert isinstance(linear, Linear)
    weight = linear.weight.clone()
    with fake_quantised(denoiser, {FIRST: 1.0}), pytest.raises(RuntimeError):
        linear(torch.ones(2, 3))
    assert torch.equal(linear.weight, weight)


def test_the_error_is_that_of_the_velocity(calibration: GoldenCalibration) -> None:
    """Of all calls together, and of each by itself."""
    found = calibration.found
    spread = calibration.recording.spread(0.9, 3)
    errors = VelocityErrors(found.denoisers, spread, found.scales)
    calls = spread[ExpertName.LOW]
    assert len({call.timestep for call in calls}) > 1
    module = found.denoisers.of_expert(ExpertName.LOW)
    run = partial(run_denoiser, module, device=torch.device("cpu"))
    exact = torch.stack([run(call.inputs) for call in calls]).double().flatten(1)
    ranges, fitted = found.scales.ranges[ExpertName.LOW], found.scales.fitted[ExpertName.LOW]
    with fake_quantised(module, {FIRST: ranges[FIRST]}, fitted):
        changed = torch.stack([run(call.inputs) for call in calls]).double().flatten(1)
    squares, velocities = (changed - exact).square(), exact.square()
    measured = errors.alone([FIRST])[FIRST][ExpertName.LOW]
    assert measured.total == pytest.approx(float(squares.sum() / velocities.sum()), rel=1e-6)
    by_call = squares.sum(1) / velocities.sum(1)
    assert min(by_call) > 0
    assert measured.calls == pytest.approx(by_call.tolist(), rel=1e-6)
    assert errors.together([])[ExpertName.LOW].total == 0


@pytest.fixture(scope="module")
def policies(calibration: GoldenCalibration, errors: VelocityErrors) -> tuple[Policy, Policy]:
    """What fits a quarter of the error of all linears together, and a little more than that."""
    linears = candidates(calibration.found.denoisers.of_expert(ExpertName.HIGH))
    whole = worst(errors.together(linears).values())
    found, recording = calibration.found, calibration.recording
    return (
        search_calibrated(found, recording, whole / 4, CALLS),
        search_calibrated(found, recording, whole * 1.01, CALLS),
    )


def test_a_policy_is_within_its_budget_and_a_larger_one_gives_no_less(
    calibration: GoldenCalibration, errors: VelocityErrors, policies: tuple[Policy, Policy]
) -> None:
    small, large = (quantised_by(policy, calibration) for policy in policies)
    evidence = policies[0].evidence
    assert evidence is not None
    assert worst(errors.together(sorted(small)).values()) <= evidence.budget
    assert small < large == set(evidence.linears)


def test_a_policy_file_keeps_what_was_measured(
    calibration: GoldenCalibration, errors: VelocityErrors, policies: tuple[Policy, Policy]
) -> None:
    policy = policies[0]
    text = policy_text(policy)
    read = Policy.parse(text, policy.name)
    assert (read.linear, read.digest) == (policy.linear, policy.digest)
    evidence = read.evidence
    assert policy.evidence is not None
    assert evidence is not None
    assert evidence.linears == policy.evidence.linears
    assert evidence.linears[FIRST].alone == errors.alone([FIRST])[FIRST]
    chosen = quantised_by(read, calibration)
    assert f"{len(chosen)} of {len(evidence.linears)} linears" in text
    assert set(list(evidence.linears)[: len(chosen)]) == chosen
    origin = calibration.found.scales.origin
    assert (evidence.origin.checkpoint, evidence.origin.method) == (origin.checkpoint, "max")
    told = origin.sampling["timesteps"]
    for expert, timesteps in evidence.timesteps.items():
        assert set(timesteps) <= set(told[expert])


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
