"""The solver's step on the device equals the host's, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from device_side import DeviceSide
from numpy.typing import NDArray

from wan_trt.engine.backend import STEP_BLOCK_WORDS, StepTensors
from wan_trt.engine.cuda.device_tensor import DeviceTensor
from wan_trt.engine.cuda.nvrtc import SOLVER_UPDATE
from wan_trt.engine.cuda.step import StepUpdate
from wan_trt.engine.request import SolverName
from wan_trt.engine.schedule import make_schedule
from wan_trt.engine.solver import History, solver_coefficients

SHAPE = (16, 3, 5, 7)  # no multiple of a block of threads


def random(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def step_tensors(
    side: DeviceSide, latents: NDArray[np.float32], guided: bool
) -> StepTensors[DeviceTensor]:
    return StepTensors(
        latents=side.tensor(latents),
        conditional=side.empty(*SHAPE),
        unconditional=side.empty(*SHAPE) if guided else None,
        sample=side.empty(*SHAPE),
        newest=side.empty(*SHAPE),
        older=side.empty(*SHAPE),
        block=side.empty(STEP_BLOCK_WORDS, dtype="int64"),
    )


@pytest.mark.parametrize("guidance", [None, 1.0, 3.5])
@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("solver", SolverName)
def test_a_run_on_the_device_equals_the_hosts(
    side: DeviceSide, solver: SolverName, steps: int, guidance: float | None
) -> None:
    """Two segments; the host writes the numbers of all steps before it waits for the first."""
    schedule = make_schedule(solver, steps, shift=5)
    coefficients = solver_coefficients(solver, schedule.sigmas)
    kernel = side.load(SOLVER_UPDATE)
    tensors = step_tensors(side, random(*SHAPE), guided=guidance is not None)
    update = StepUpdate(side.device, kernel, tensors)
    for segment in range(2):
        latents = random(*SHAPE, seed=segment)
        side.put(latents, tensors.latents)
        history = History()
        update.begin_segment()
        for i in range(steps):
            conditional, unconditional = (random(*SHAPE, seed=10 * i + k) for k in (3, 4))
            velocity = conditional
            if guidance is not None and guidance != 1:
                velocity = unconditional + np.float32(guidance) * (conditional - unconditional)
            history.advance(coefficients[i], latents, velocity)

            update.write(schedule.timesteps[i], coefficients[i], guidance or 1, side.stream)
            side.put(conditional, tensors.conditional)
            if tensors.unconditional is not None:
                side.put(unconditional, tensors.unconditional)
            update.enqueue(side.stream)
        np.testing.assert_array_equal(side.get(tensors.latents), latents)
        assert side.get(tensors.timestep)[0] == schedule.timesteps[-1]
        assert update.first_bad_step is None
    update.close()


def test_the_numbers_of_a_step_wait_for_the_step_before(side: DeviceSide) -> None:
    """More steps than the host may be ahead, with nothing between that waits."""
    steps = 40
    schedule = make_schedule(SolverName.UNIPC, steps, shift=5)
    coefficients = solver_coefficients(SolverName.UNIPC, schedule.sigmas)
    latents, velocity = random(*SHAPE), random(*SHAPE, seed=1)
    tensors = step_tensors(side, latents, guided=False)
    side.put(velocity, tensors.conditional)
    update = StepUpdate(side.device, side.load(SOLVER_UPDATE), tensors)
    history = History()
    for timestep, step in zip(schedule.timesteps, coefficients, strict=True):
        history.advance(step, latents, velocity)
        update.write(timestep, step, 1, side.stream)
        update.enqueue(side.stream)
    np.testing.assert_array_equal(side.get(tensors.latents), latents)
    update.close()


def test_a_captured_update_is_replayed_with_other_numbers(side: DeviceSide) -> None:
    steps = 6
    schedule = make_schedule(SolverName.UNIPC, steps, shift=5)
    coefficients = solver_coefficients(SolverName.UNIPC, schedule.sigmas)
    latents, velocity = random(*SHAPE), random(*SHAPE, seed=1)
    tensors = step_tensors(side, latents, guided=False)
    side.put(velocity, tensors.conditional)
    update = StepUpdate(side.device, side.load(SOLVER_UPDATE), tensors)
    side.device.begin_capture(side.stream)
    update.enqueue(side.stream)
    graph = side.device.end_capture(side.stream)
    executable = side.device.instantiate(graph)
    side.device.destroy_graph(graph)
    history = History()
    for timestep, step in zip(schedule.timesteps, coefficients, strict=True):
        history.advance(step, latents, velocity)
        update.write(timestep, step, 1, side.stream)
        side.device.launch_graph(executable, side.stream)
    np.testing.assert_array_equal(side.get(tensors.latents), latents)
    side.device.destroy_executable(executable)
    update.close()


@pytest.mark.parametrize("solver", [SolverName.UNIPC, SolverName.DPMPP])
def test_without_a_history_only_what_is_known_counts(side: DeviceSide, solver: SolverName) -> None:
    """A segment that begins with a later step, whose coefficients want estimates before it."""
    schedule = make_schedule(solver, 8, shift=5)
    coefficients = solver_coefficients(solver, schedule.sigmas)
    latents, velocity = random(*SHAPE), random(*SHAPE, seed=1)
    tensors = step_tensors(side, latents, guided=False)
    side.put(velocity, tensors.conditional)
    update = StepUpdate(side.device, side.load(SOLVER_UPDATE), tensors)
    history = History()
    for i in range(3, 6):
        history.advance(coefficients[i], latents, velocity)
        update.write(schedule.timesteps[i], coefficients[i], 1, side.stream)
        update.enqueue(side.stream)
        np.testing.assert_array_equal(side.get(tensors.latents), latents)
    update.close()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_the_first_step_that_is_not_finite_is_named(side: DeviceSide, value: float) -> None:
    schedule = make_schedule(SolverName.EULER, 5, shift=5)
    coefficients = solver_coefficients(SolverName.EULER, schedule.sigmas)
    tensors = step_tensors(side, random(*SHAPE), guided=False)
    update = StepUpdate(side.device, side.load(SOLVER_UPDATE), tensors)
    for i, step in enumerate(coefficients):
        velocity = random(*SHAPE, seed=i)
        if i == 2:
            velocity[15, 2, 4, 6] = value
        side.put(velocity, tensors.conditional)
        update.write(schedule.timesteps[i], step, 1, side.stream)
        update.enqueue(side.stream)
    side.device.synchronize(side.stream)
    assert update.first_bad_step == 2
    update.begin_segment()
    assert update.first_bad_step is None
    update.close()
