"""Every intermediate of the official WanI2V.generate(), with its inputs, noise and prompts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file
from toy_jobs import velocities

from wan_trt.engine import (
    Bundle,
    CollectedFrames,
    ExpertName,
    ImageToVideoRequest,
    Sampling,
    SolverName,
)
from wan_trt.engine.executor import run
from wan_trt.engine.executors import Executors
from wan_trt.engine.host_backend import HostBackend
from wan_trt.engine.job import Job
from wan_trt.engine.job_tensors import JobTensors
from wan_trt.engine.ort import load_executor
from wan_trt.engine.rope import rope_tables
from wan_trt.engine.scheduling.unit import Stage
from wan_trt.engine.stages.image_to_video import ImageToVideoConditioning
from wan_trt.engine.stages.pipeline import Pipeline
from wan_trt.engine.stills import still
from wan_trt.engine.validation import validate_request

CASES = ("dpmpp_5steps", "unipc_6steps")


class StoredNoise:
    def __init__(self, noise: NDArray[np.float32]) -> None:
        self._noise = noise

    def segment(self, index: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
        assert (index, shape) == (0, self._noise.shape)
        return self._noise


@dataclass(frozen=True)
class Case:
    parameters: dict[str, Any]
    request: ImageToVideoRequest
    outputs: dict[str, NDArray[Any]]

    @staticmethod
    def load(folder: Path, name: str) -> Case:
        parameters = json.loads((folder / f"{name}.json").read_text())
        inputs = load_file(folder / f"{name}.inputs.safetensors")
        low, high = parameters["guide_scale_low_high"]
        request = ImageToVideoRequest(
            reference=inputs["image_u8"],
            frames=parameters["frame_num"],
            area=parameters["max_area"],
            prompt=parameters["prompt"],
            negative_prompt=parameters["negative_prompt"],
            sampling=Sampling(
                parameters["sampling_steps"],
                SolverName(parameters["sample_solver"]),
                parameters["shift"],
                (high, low),
            ),
            noise=StoredNoise(inputs["noise"]),
        )
        return Case(parameters, request, load_file(folder / f"{name}.outputs.safetensors"))


@pytest.fixture(scope="module")
def executors(i2v_golden_bundle: Bundle) -> Iterator[Executors]:
    executors = Executors(i2v_golden_bundle, load_executor)
    yield executors
    executors.close()


@pytest.mark.parametrize("name", CASES)
def test_every_intermediate(
    i2v_golden: Path, i2v_golden_bundle: Bundle, executors: Executors, name: str
) -> None:
    case = Case.load(i2v_golden, name)
    expected, manifest = case.outputs, i2v_golden_bundle.manifest
    assert [case.request.height, case.request.width] == case.parameters["output_hw"]
    plan, schedule = validate_request(case.request, manifest)
    assert list(schedule.timesteps) == case.parameters["timesteps"]
    sink = CollectedFrames()
    job = Job("golden", case.request, sink, None, plan, schedule, manifest.boundary)
    backend = HostBackend()
    pipeline = Pipeline(i2v_golden_bundle, executors, backend)
    experts = []
    for unit in iter_units(job):
        pipeline.run(unit, job)
        assert job.tensors is not None
        if unit.stage is Stage.CONDITIONING:
            check_condition(job.tensors, expected)
            check_velocity(job, job.tensors, 0, expected, "step0")
        elif unit.step is not None:
            experts.append(unit.step.expert.value)
            latents = np.asarray(job.tensors.step.latents)
            state = expected["x_steps"][unit.step.index]
            np.testing.assert_allclose(latents, state, atol=1e-3, rtol=0)
            if unit.step.index == schedule.steps - 2:
                check_velocity(job, job.tensors, unit.step.index + 1, expected, "last")
    backend.close()
    assert experts == case.parameters["expert"]
    np.testing.assert_allclose(sink.latents[0], expected["latents"], atol=1e-3, rtol=0)
    frames = sink.frames.transpose(3, 0, 1, 2)
    np.testing.assert_allclose(frames, expected["frames"], atol=1e-3, rtol=0)


def iter_units(job: Job) -> Iterator[Any]:
    while True:
        yield job.unit
        following = job.cursor.following(len(job.plan.segments), job.schedule.steps)
        if following is None:
            return
        job.cursor = following


def check_condition(tensors: JobTensors, expected: dict[str, NDArray[Any]]) -> None:
    conditioning = tensors.conditioning
    assert isinstance(conditioning, ImageToVideoConditioning)
    condition = np.asarray(conditioning.condition)
    np.testing.assert_array_equal(condition[:4], expected["y"][:4])
    np.testing.assert_allclose(condition, expected["y"], atol=1e-4, rtol=0)
    np.testing.assert_allclose(condition[4:], expected["latent_cond"], atol=1e-4, rtol=0)


def check_velocity(
    job: Job, tensors: JobTensors, index: int, expected: dict[str, NDArray[Any]], name: str
) -> None:
    """Both branches of a step."""
    conditional, unconditional = velocities(tensors, job.step(index))
    assert unconditional is not None
    np.testing.assert_allclose(conditional, expected[f"v_cond_{name}"], atol=5e-4, rtol=0)
    np.testing.assert_allclose(unconditional, expected[f"v_uncond_{name}"], atol=5e-4, rtol=0)


@pytest.mark.parametrize("name", CASES)
def test_the_first_frame(i2v_golden: Path, name: str) -> None:
    case = Case.load(i2v_golden, name)
    frame = still(case.request.reference, case.request.height, case.request.width)
    np.testing.assert_allclose(frame, case.outputs["first_frame_resized"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("expert", ExpertName)
@pytest.mark.parametrize("timestep", [950, 500])
def test_one_forward_pass_of_an_expert(
    i2v_golden: Path,
    i2v_golden_bundle: Bundle,
    executors: Executors,
    expert: ExpertName,
    timestep: int,
) -> None:
    given = load_file(i2v_golden / "experts.safetensors")
    geometry = i2v_golden_bundle.manifest.geometry
    _, frames, height, width = given["x"].shape
    grid = {"frames": frames, "rows": height // 2, "columns": width // 2}
    rows = np.zeros((geometry.text_tokens, geometry.text_dim), np.float32)
    rows[: len(given["context"])] = given["context"]
    text = run(executors.get("text_context", expert), {}, text_rows=rows)
    segment = run(executors.get("segment_context", expert), grid, condition=given["y"])
    cos, sin = rope_tables(frames, grid["rows"], grid["columns"], geometry.head_dim)
    found = run(
        executors.get("denoiser", expert),
        grid,
        latents=given["x"],
        timestep=np.array([timestep]),
        rope_cos=cos,
        rope_sin=sin,
        **text,
        **segment,
    )["velocity"]
    expected = given[f"{expert}.t{timestep}.v"]
    np.testing.assert_allclose(found, expected, atol=2e-4, rtol=0)
