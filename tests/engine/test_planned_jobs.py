"""A bundle's plans are used where they serve: whole jobs on a made-up TensorRT and driver."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import fake_tensorrt
import numpy as np
import pytest
from made_up_gpu import MadeUpGpu
from planned_toy import with_plan
from toy_jobs import MakeBundle, MakeRequest

from wan_trt.engine import AnimateRequest, Bundle, CollectedFrames, Engine, Sampling
from wan_trt.engine.cuda.graphs import GpuGraphs

SIZES = {"frames": 3, "latents": 2, "rows": 1, "columns": 2}  # of five frames, 32x16
CLIP = {"height": 2, "width": 4}


@pytest.fixture
def gpu(tmp_path: Path) -> Iterator[MadeUpGpu]:
    gpu = MadeUpGpu(tmp_path)
    with fake_tensorrt.tensorrt_installed(gpu.cuda):
        yield gpu


@pytest.fixture
def planned_launches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each launch of a plan that is not a replay."""
    launches: list[int] = []
    launch = fake_tensorrt.IExecutionContext.execute_async_v3

    def noted(context: fake_tensorrt.IExecutionContext, stream: int) -> bool:
        launches.append(stream)
        return launch(context, stream)

    monkeypatch.setattr(fake_tensorrt.IExecutionContext, "execute_async_v3", noted)
    return launches


def frames(bundle: Bundle, request: AnimateRequest, gpu: MadeUpGpu | None) -> CollectedFrames:
    sink = CollectedFrames()
    backend = gpu.backend(GpuGraphs(gpu.load).load) if gpu else None
    with Engine(bundle, threads=1 if gpu is None else None, backend=backend) as engine:
        engine.generate(request, sink)
    if gpu:
        gpu.require_all_given_back()
    return sink


def test_plans_run_a_job(
    make_bundle: MakeBundle,
    make_request: MakeRequest,
    gpu: MadeUpGpu,
    planned_launches: list[int],
) -> None:
    """Denoiser and decoder by plans, captured; the rest by the other executor."""
    bundle = make_bundle(high=0.5, low=0.25)
    for weight_set in ("high", "low"):
        bundle = with_plan(bundle, "denoiser", SIZES, weight_set)
    for graph in ("vae_decoder_first", "vae_decoder_next"):
        bundle = with_plan(bundle, graph, CLIP)
    request = make_request(sampling=Sampling(steps=6, guidance=(2.0, 1.0)))
    expected = frames(bundle, request, gpu=None)
    found = frames(bundle, request, gpu)
    np.testing.assert_array_equal(found.frames, expected.frames)
    np.testing.assert_array_equal(found.latents[1], expected.latents[1])
    # Each of the bindings twice: once to warm up, once to be recorded. High with both branches,
    # low with one, the decoder's two graphs.
    assert len(planned_launches) == 2 * (2 + 1 + 2)


@pytest.mark.parametrize("why", ["another size", "another TensorRT", "no TensorRT"])
def test_a_plan_that_does_not_serve_is_left_alone(
    make_bundle: MakeBundle,
    make_request: MakeRequest,
    gpu: MadeUpGpu,
    planned_launches: list[int],
    monkeypatch: pytest.MonkeyPatch,
    why: str,
) -> None:
    sizes = {**SIZES, "columns": 3} if why == "another size" else SIZES
    bundle = with_plan(make_bundle(), "denoiser", sizes)
    if why == "another TensorRT":
        monkeypatch.setattr(fake_tensorrt, "__version__", "11.5.0.1")
    if why == "no TensorRT":
        monkeypatch.setitem(sys.modules, "tensorrt", None)
    found = frames(bundle, make_request(), gpu)
    np.testing.assert_array_equal(found.frames, frames(bundle, make_request(), None).frames)
    assert planned_launches == []
