"""Schedules and solvers against the official samplers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file

from wan_trt.engine.request import ExpertName, SolverName
from wan_trt.engine.schedule import expert_for, make_schedule
from wan_trt.engine.solver import History, solver_coefficients

UNIPC_20 = [999, 989, 978, 965, 952, 937, 920, 902, 882, 859]
UNIPC_20 += [833, 803, 768, 728, 681, 624, 555, 468, 356, 208]
DPMPP_20 = [1000, 989, 978, 965, 952, 937, 921, 902, 882, 859]
DPMPP_20 += [833, 803, 769, 729, 681, 625, 555, 468, 357, 208]

Field = Callable[[NDArray[np.float32], int, float], NDArray[np.float32]]


def sample(
    solver: SolverName, steps: int, start: NDArray[np.float32], field: Field, shift: float = 5.0
) -> list[NDArray[np.float32]]:
    """The state after each step; `field` gives the velocity of (state, timestep, sigma)."""
    schedule = make_schedule(solver, steps, shift)
    state, history, states = start.copy(), History(), []
    for timestep, coefficients in zip(
        schedule.timesteps, solver_coefficients(solver, schedule.sigmas), strict=True
    ):
        history.advance(coefficients, state, field(state, timestep, coefficients.sigma))
        states.append(state.copy())
    return states


@pytest.mark.parametrize(
    ("solver", "timesteps"),
    [
        (SolverName.UNIPC, UNIPC_20),
        (SolverName.DPMPP, DPMPP_20),
        (SolverName.EULER, DPMPP_20),
    ],
)
def test_timesteps_are_cut_not_rounded(solver: SolverName, timesteps: list[int]) -> None:
    assert list(make_schedule(solver, 20, 5.0).timesteps) == timesteps


def test_four_steps() -> None:
    assert make_schedule(SolverName.UNIPC, 4, 5.0).timesteps == (999, 937, 833, 624)
    dpmpp = make_schedule(SolverName.DPMPP, 4, 5.0)
    assert dpmpp.timesteps == (1000, 937, 833, 625)
    np.testing.assert_allclose(dpmpp.sigmas, [1, 0.9375, 0.833333, 0.625, 0], atol=1e-6)


def test_noise_levels_that_collapse_are_an_error() -> None:
    with pytest.raises(ValueError, match="not distinct"):
        make_schedule(SolverName.DPMPP, 1000, 1e6)


@pytest.mark.parametrize(
    ("boundary", "high"), [(0.9, 8), (0.0, 20), (1.0, 1), (0.91, 7), (0.853, 10)]
)
def test_the_boundary_splits_the_steps(boundary: float, high: int) -> None:
    experts = [expert_for(t, boundary) for t in make_schedule(SolverName.DPMPP, 20, 5.0).timesteps]
    assert experts == [ExpertName.HIGH] * high + [ExpertName.LOW] * (20 - high)


def test_the_boundary_is_the_high_noise_experts() -> None:
    assert expert_for(570, 0.57) is ExpertName.HIGH  # 0.57 * 1000 is 569.9999..
    assert expert_for(569, 0.57) is ExpertName.LOW


@pytest.mark.parametrize(
    ("solver", "expected"), [(SolverName.UNIPC, 0.7067072), (SolverName.DPMPP, 0.7067140)]
)
def test_scalar_vector(solver: SolverName, expected: float) -> None:
    states = sample(
        solver,
        20,
        np.array([1.3], np.float32),
        lambda x, _t, sigma: np.float32(0.7) * x - np.float32(0.2 * sigma),
    )
    assert states[-1][0] == pytest.approx(expected, abs=5e-7)


@pytest.mark.parametrize("solver", SolverName)
def test_a_perfect_network_is_followed_to_the_clean_latents(solver: SolverName) -> None:
    """With v = (x - x0) / sigma every solver of this family lands on x0, whatever its order."""
    clean = np.array([0.3, -1.2], np.float32)
    states = sample(
        solver,
        6,
        np.array([1.5, 0.4], np.float32),
        lambda x, _t, sigma: (x - clean) / np.float32(sigma),
    )
    np.testing.assert_allclose(states[-1], clean, atol=1e-5)


def test_multistep_solvers_are_of_higher_order_than_euler() -> None:
    """dx/dsigma = x from sigma = 1 to 0 without shift has the solution x(0) = x(1) / e."""

    def error(solver: SolverName, steps: int) -> float:
        end = sample(solver, steps, np.array([1.0], np.float32), lambda x, _t, _s: x, shift=1.0)
        start = make_schedule(solver, steps, 1.0).sigmas[0]
        return float(abs(end[-1][0] - np.exp(-start)))

    assert error(SolverName.EULER, 20) / error(SolverName.EULER, 40) == pytest.approx(2, abs=0.1)
    for solver in (SolverName.DPMPP, SolverName.UNIPC):
        assert error(solver, 40) < error(SolverName.EULER, 40) / 10


@settings(deadline=None)
@given(
    solver=st.sampled_from(SolverName),
    steps=st.integers(1, 60),
    shift=st.floats(0.05, 50),
)
def test_coefficients_are_finite_and_keep_a_constant(
    solver: SolverName, steps: int, shift: float
) -> None:
    """A sample that equals the estimate it came from, x = m for all m, must stay where it is."""
    schedule = make_schedule(solver, steps, shift)
    for i, step in enumerate(solver_coefficients(solver, schedule.sigmas)):
        for part in (step.corrector, step.predictor):
            if part is not None:
                assert np.isfinite([part.sample, *part.models]).all()
                assert part.sample + sum(part.models) == pytest.approx(1.0, abs=1e-5)
        assert (step.corrector is not None) == (solver is SolverName.UNIPC and i > 0)


def test_schedules_golden(golden: Path) -> None:
    tensors = load_file(golden / "modules" / "schedules.safetensors")
    names = [name.removesuffix(".sigmas") for name in tensors if name.endswith(".sigmas")]
    assert len(names) == 120
    for name in names:
        solver, steps, shift = name.split(".")
        schedule = make_schedule(SolverName(solver), int(steps[1:]), float(shift[5:]))
        np.testing.assert_array_equal(schedule.timesteps, tensors[f"{name}.timesteps"], name)
        np.testing.assert_array_equal(
            np.array(schedule.sigmas, np.float32), tensors[f"{name}.sigmas"], name
        )


def test_solvers_golden(golden: Path) -> None:
    tensors = load_file(golden / "modules" / "solvers.safetensors")
    names = [name for name in tensors if name.endswith(".x")]
    assert len(names) == 10
    for name in names:
        solver, steps, _ = name.split(".")
        states = sample(
            SolverName(solver),
            int(steps[1:]),
            tensors["x_init"][0],
            lambda x, t, _s: (
                np.float32(0.7) * x - np.float32(0.2 * t / 1000) + np.float32(0.3) * tensors["W"][0]
            ),
        )
        np.testing.assert_allclose(np.stack(states), tensors[name], atol=1e-5, err_msg=name)
