"""Whole runs against the official WanAnimate.generate(), with its inputs, noise and prompts.

Carried frames are rounded to bfloat16, so a difference of 1e-6 can become one of 1e-2 in the next
segment. Each case therefore runs twice: freely, judged by PSNR, and with the official carried
frames put in, judged tightly in every intermediate tensor.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from executor_rigs import open_cuda_provider
from numpy.typing import NDArray
from safetensors.numpy import load_file
from toy_jobs import velocities

from wan_trt.engine import (
    AnimateRequest,
    ArrayFrames,
    Bundle,
    CollectedFrames,
    Engine,
    ExpertName,
    Mode,
    Sampling,
    SolverName,
)
from wan_trt.engine import pixels as pixels_module
from wan_trt.engine.backend import Backend
from wan_trt.engine.executors import Executors
from wan_trt.engine.host_backend import HostBackend
from wan_trt.engine.job import Job
from wan_trt.engine.job_tensors import JobTensors
from wan_trt.engine.ort import load_executor
from wan_trt.engine.scheduling.unit import Stage
from wan_trt.engine.stages import decode as decode_module
from wan_trt.engine.stages.animate import AnimateConditioning
from wan_trt.engine.stages.pipeline import Pipeline
from wan_trt.engine.validation import validate_request

CASES = (
    "animate_20steps_dpmpp",
    "animate_cfg_unipc",
    "animate_r1_unipc",
    "animate_r5_dpmpp",
    "replace_r1_dpmpp",
    "replace_r5_unipc",
)
Array = NDArray[np.float32]


class StoredNoise:
    def __init__(self, tensors: dict[str, NDArray[Any]]) -> None:
        self._tensors = tensors

    def segment(self, index: int, shape: tuple[int, ...]) -> Array:
        return self._tensors[f"seg{index}.noise"].reshape(shape)


@dataclass(frozen=True)
class Case:
    parameters: dict[str, Any]
    request: AnimateRequest
    outputs: dict[str, NDArray[Any]]

    @staticmethod
    def load(golden: Path, name: str) -> Case:
        folder = golden / "pipeline"
        parameters = json.loads((folder / f"{name}.json").read_text())
        inputs = load_file(folder / f"{name}.inputs.safetensors")
        replace = parameters["mode"] == "replace"
        guidance = float(parameters["guide_scale"])
        request = AnimateRequest(
            reference=inputs["ref"],
            pose=ArrayFrames(inputs["pose"]),
            face=ArrayFrames(inputs["face"]),
            background=ArrayFrames(inputs["bg"]) if replace else None,
            mask=ArrayFrames(np.repeat(inputs["mask"][..., None], 3, axis=3)) if replace else None,
            mode=Mode(parameters["mode"]),
            prompt=parameters["prompt"],
            negative_prompt=parameters["negative_prompt"],
            sampling=Sampling(
                parameters["sampling_steps"],
                SolverName(parameters["sample_solver"]),
                parameters["shift"],
                (guidance, guidance),
            ),
            noise=StoredNoise(inputs),
            segment_frames=parameters["clip_len"],
            overlap=parameters["refert_num"],
        )
        return Case(parameters, request, load_file(folder / f"{name}.outputs.safetensors"))


@pytest.fixture(scope="module")
def executors(golden_bundle: Bundle) -> Iterator[Executors]:
    executors = Executors(golden_bundle, load_executor)
    yield executors
    executors.close()


def step_through(
    bundle: Bundle, executors: Executors, request: AnimateRequest, sink: CollectedFrames
) -> Iterator[tuple[Job, JobTensors]]:
    """Run a request unit by unit; yields before each segment's first step and after each unit."""
    plan, schedule = validate_request(request, bundle.manifest)
    job = Job("golden", request, sink, None, plan, schedule, bundle.manifest.boundary)
    with closing(HostBackend()) as backend:
        pipeline = Pipeline(bundle, executors, backend)
        while True:
            pipeline.run(job.unit, job)
            assert job.tensors is not None
            yield job, job.tensors
            following = job.cursor.following(len(plan.segments), schedule.steps)
            if following is None:
                return
            job.cursor = following


DEVICES = [
    pytest.param(HostBackend, id="cpu"),
    pytest.param(open_cuda_provider, id="cuda", marks=pytest.mark.gpu),
]


@pytest.mark.parametrize("open_backend", DEVICES)
@pytest.mark.parametrize("name", CASES)
def test_free_run(
    golden: Path, golden_bundle: Bundle, name: str, open_backend: Callable[[], Backend]
) -> None:
    case = Case.load(golden, name)
    sink = CollectedFrames()
    with Engine(golden_bundle, backend=open_backend()) as engine:
        engine.generate(case.request, sink)
    difference = sink.frames.transpose(3, 0, 1, 2) - case.outputs["frames"]
    first = difference[:, : case.request.segment_frames]
    assert np.abs(first).max() < 1e-4
    assert np.abs(difference).max() < 1e-2
    assert np.sqrt(np.mean(difference**2)) < 1e-3
    assert 10 * np.log10(4 / np.mean(difference**2)) > 60
    np.testing.assert_allclose(sink.latents[0], case.outputs["seg0.latents"], atol=5e-4)


@pytest.mark.parametrize("name", CASES)
def test_every_intermediate_with_the_official_carried_frames(
    golden: Path, golden_bundle: Bundle, executors: Executors, name: str
) -> None:
    case = Case.load(golden, name)
    expected, sink = case.outputs, CollectedFrames()
    checked = 0
    for job, tensors in step_through(golden_bundle, executors, case.request, sink):
        segment = f"seg{job.cursor.segment}"
        assert list(job.schedule.timesteps) == expected["timesteps"].tolist()
        if job.cursor.stage is Stage.CONDITIONING:
            conditioning = tensors.conditioning
            assert isinstance(conditioning, AnimateConditioning)
            y, pose = np.asarray(conditioning.condition), np.asarray(conditioning.pose_latents)
            np.testing.assert_array_equal(y[:4], expected[f"{segment}.y"][:4])
            np.testing.assert_allclose(y, expected[f"{segment}.y"], atol=1e-4)
            np.testing.assert_allclose(pose, expected[f"{segment}.pose_latents"][0], atol=1e-4)
            if "clip_fea" in expected:
                features = np.asarray(conditioning.image_features)
                np.testing.assert_allclose(features, expected["clip_fea"][0], atol=5e-4)
            rows = np.asarray(conditioning.text_rows)
            context = expected["context"]
            np.testing.assert_allclose(rows[: len(context)], context, atol=1e-4)
            assert not rows[len(context) :].any()
            check_first_velocity(job, tensors, expected)
            checked += 1
        elif job.cursor.stage is Stage.DECODE:
            following = f"seg{job.cursor.segment + 1}.carry_bf16"
            if following in expected:
                carried = expected[following]
                # One value in a few hundred may fall on the other side of a rounding boundary.
                assert np.mean(tensors.carried != carried) < 0.01
                np.testing.assert_allclose(tensors.carried, carried, atol=2**-7)
                tensors.carried[...] = carried
    assert checked == case.parameters["segments"]
    frames = sink.frames.transpose(3, 0, 1, 2)
    np.testing.assert_allclose(frames, expected["frames"], atol=2e-4 if checked > 1 else 1e-4)
    for index, latents in sink.latents.items():
        np.testing.assert_allclose(latents, expected[f"seg{index}.latents"], atol=5e-4)


def check_first_velocity(job: Job, tensors: JobTensors, expected: dict[str, NDArray[Any]]) -> None:
    """The velocity of a segment's first step, and with guidance that of both branches."""
    step = job.step(0)
    guidance = job.request.guidance(step.expert)

    name = f"seg{job.cursor.segment}.v_step0"
    assert step.expert is ExpertName.HIGH
    conditional, unconditional = velocities(tensors, step)
    velocity = conditional
    if unconditional is not None:
        velocity = unconditional + guidance * (conditional - unconditional)
        np.testing.assert_allclose(conditional, expected[f"{name}_cond"], atol=2e-4)
        np.testing.assert_allclose(unconditional, expected[f"{name}_uncond"], atol=5e-4)
    np.testing.assert_allclose(velocity, expected[name], atol=5e-4)


@pytest.mark.parametrize("name", ["animate_r1_unipc", "replace_r5_unipc"])
def test_without_roundings(
    golden: Path,
    golden_bundle: Bundle,
    executors: Executors,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The official run without any bfloat16: free running is tight, over all segments."""
    case = Case.load(golden, name)
    expected = load_file(golden / "pipeline" / f"{name}.variant_none.safetensors")
    sink = CollectedFrames()
    with monkeypatch.context() as patch:
        for module in (pixels_module, decode_module):
            patch.setattr(module, "round_bfloat16", lambda values: values)
        pixels_module.pixel_table.cache_clear()
        pixels_module.keep_table.cache_clear()
        for _ in step_through(golden_bundle, executors, case.request, sink):
            pass
    pixels_module.pixel_table.cache_clear()
    pixels_module.keep_table.cache_clear()
    tail, start = expected["frames_tail"], int(expected["tail_start"])
    frames = sink.frames.transpose(3, 0, 1, 2)[:, start : start + tail.shape[1]]
    np.testing.assert_allclose(frames, tail, atol=1e-4)
    for index, latents in sink.latents.items():
        np.testing.assert_allclose(latents, expected[f"seg{index}.latents"], atol=5e-4)
