"""Sensitivity on the golden checkpoint, and the policy that comes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from calibration_samples import GoldenCalibration, write_small_sample
from e4m3_rounding import rounded
from numpy.typing import NDArray

from wan_trt.calibration.calibrate import CalibrationOptions
from wan_trt.calibration.fake_quantised import fake_quantised
from wan_trt.calibration.recording import Call
from wan_trt.calibration.search import search_calibrated, search_policy
from wan_trt.calibration.torch_executor import run_module
from wan_trt.calibration.velocity_error import VelocityErrors
from wan_trt.calibration.writers import Arrays
from wan_trt.engine.errors import InputError
from wan_trt.engine.models import DENOISER
from wan_trt.engine.request import ExpertName
from wan_trt.export.modeling.module import ExportModule, Linear
from wan_trt.export.quantize.evidence import worst
from wan_trt.export.quantize.policy import Policy, flat
from wan_trt.export.quantize.policy_text import policy_text
from wan_trt.export.quantize.rounding import Rounding

CALLS = 1
FIRST = "blocks.0.self_attn.q"
ROUNDING = Rounding(frozenset([FIRST]), frozenset([FIRST]))
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


def quantised_by(policy: Policy, calibration: GoldenCalibration) -> set[str]:
    return set(flat(policy.apply(calibration.found.graphs.candidates, layers=10).linears))


@pytest.mark.parametrize("input_too", [True, False])
def test_a_fake_quantised_linear_is_torch_s_own_float8(
    denoiser: ExportModule, input_too: bool
) -> None:
    """With an input that is rounded, and as in a context with one that is not."""
    linear = denoiser.get_submodule(FIRST)
    assert isinstance(linear, Linear)
    weight, bias = linear.weight.clone(), linear.bias
    assert bias is not None
    x = torch.randn(7, weight.shape[0], generator=torch.Generator().manual_seed(0))
    read = rounded(x, torch.tensor(1.5) / 448) if input_too else x
    expected = read @ rounded(weight, weight.abs().amax(0) / 448) + bias
    rounding = ROUNDING if input_too else Rounding(frozenset([FIRST]))
    with torch.no_grad():
        plain = linear(x)
        with fake_quantised(denoiser, rounding, {FIRST: 1.5}):
            torch.testing.assert_close(linear(x), expected, atol=1e-5, rtol=1e-5)
        assert torch.equal(linear(x), plain)
    assert torch.equal(linear.weight, weight)


def test_a_linear_that_fails_keeps_its_weight(denoiser: ExportModule) -> None:
    linear = denoiser.get_submodule(FIRST)
    assert isinstance(linear, Linear)
    weight = linear.weight.clone()
    with fake_quantised(denoiser, ROUNDING, {FIRST: 1.0}), pytest.raises(RuntimeError):
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
    calibration: GoldenCalibration, graph: str, linear: str
) -> None:
    """Of all calls together, and of each by itself; also for a linear of a context, of which the
    denoiser reads what it computes."""
    found, expert = calibration.found, ExpertName.LOW
    spread = calibration.recording.spread(0.9, 2)
    errors, calls = VelocityErrors(found.graphs, spread, found.scales), spread[expert]
    assert len({call.timestep for call in calls}) > 1

    def velocity(call: Call, quantised: str) -> NDArray[np.float64]:
        def run(name: str, inputs: Arrays) -> Arrays:
            module = found.graphs.of_expert(name, expert)
            ranges, fitted = found.scales.ranges[expert], found.scales.fitted[expert]
            rounding = Rounding.of_graph(name, [linear] if name == quantised else [])
            with fake_quantised(module, rounding, ranges, fitted):
                return run_module(module, inputs, CPU)

        inputs = dict(call.inputs)
        for context in call.contexts:
            inputs |= run(context.graph, context.inputs)
        return run(DENOISER, inputs)["velocity"].astype(np.float64)

    exact = np.stack([velocity(call, "").ravel() for call in calls])
    changed = np.stack([velocity(call, graph).ravel() for call in calls])
    squares, velocities = np.square(changed - exact), np.square(exact)
    measured = errors.alone([linear])[linear][expert]
    assert measured.total == pytest.approx(squares.sum() / velocities.sum(), rel=1e-6)
    by_call = squares.sum(1) / velocities.sum(1)
    assert min(by_call) > 0
    assert measured.calls == pytest.approx(by_call.tolist(), rel=1e-6)
    assert errors.together([])[expert].total == 0


@pytest.fixture(scope="module")
def policies(calibration: GoldenCalibration, errors: VelocityErrors) -> tuple[Policy, Policy]:
    """What fits a quarter of the error of all linears together, and a little more than that."""
    linears = flat(calibration.found.graphs.candidates)
    whole = worst(errors.together(linears).values())
    return (
        search_calibrated(calibration.found, errors, whole / 4),
        search_calibrated(calibration.found, errors, whole * 1.01),
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


def test_a_budget_that_nothing_fits(calibration: GoldenCalibration, errors: VelocityErrors) -> None:
    with pytest.raises(InputError, match="budget: 1e-30 is less than any linear costs"):
        search_calibrated(calibration.found, errors, 1e-30)


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
