"""A bundle's plans are used where they serve: whole jobs on a made-up TensorRT and driver."""

from __future__ import annotations

import hashlib
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fake_tensorrt
import numpy as np
import pytest
from made_up_gpu import MadeUpGpu
from planned_toy import with_plan
from toy_bundle import EXPERT_GRAPHS
from toy_jobs import MakeBundle, MakeRequest

from wan_trt.engine import AnimateRequest, Bundle, CollectedFrames, Engine, Sampling
from wan_trt.engine.capture import REPLAYED
from wan_trt.engine.cuda.graphs import GpuGraphs
from wan_trt.engine.memory.footprint import expert_nbytes
from wan_trt.engine.memory.layout import Layout, shapes_of

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


@pytest.fixture
def contexts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One output of the engine, for each context that is made."""
    made: list[str] = []
    create = fake_tensorrt.ICudaEngine.create_execution_context

    def noted(engine: fake_tensorrt.ICudaEngine, strategy: Any) -> Any:
        made.append(engine.session.get_outputs()[0].name)
        return create(engine, strategy)

    monkeypatch.setattr(fake_tensorrt.ICudaEngine, "create_execution_context", noted)
    return made


def frames(
    bundle: Bundle,
    request: AnimateRequest,
    gpu: MadeUpGpu | None,
    experts_nbytes: int | None = None,
) -> CollectedFrames:
    sink = CollectedFrames()
    backend = gpu.backend(GpuGraphs(gpu.load).load, experts_nbytes) if gpu else None
    with Engine(bundle, threads=1 if gpu is None else None, backend=backend) as engine:
        engine.generate(request, sink)
    if gpu:
        gpu.require_all_given_back()
    return sink


def with_plans(bundle: Bundle) -> Bundle:
    """Of the denoiser, its contexts and the VAE."""
    for graph in EXPERT_GRAPHS:
        for weight_set in ("high", "low"):
            bundle = with_plan(bundle, graph, SIZES, weight_set)
    for graph in REPLAYED[1:]:
        bundle = with_plan(bundle, graph, CLIP)
    return bundle


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


def test_a_job_at_the_addresses_of_another_makes_no_contexts_of_what_is_recorded(
    make_bundle: MakeBundle, make_request: MakeRequest, gpu: MadeUpGpu, contexts: list[str]
) -> None:
    """Two jobs of two segments, each of which changes its expert. Those of the context graphs are
    the job's own: one for each expert and branch that reads them."""
    bundle = with_plans(make_bundle(high=0.5, low=0.25))
    requests = [
        make_request(frames=9, seed=seed, sampling=Sampling(steps=2, guidance=(2.0, 2.0)))
        for seed in range(2)
    ]
    expected = [frames(bundle, request, gpu=None) for request in requests]
    with Engine(bundle, backend=gpu.backend(GpuGraphs(gpu.load).load)) as engine:
        made = []
        for request, right in zip(requests, expected, strict=True):
            contexts.clear()
            engine.generate(request, found := CollectedFrames())
            np.testing.assert_array_equal(found.frames, right.frames)
            made.append(Counter(contexts))
    gpu.require_all_given_back()
    own = {"text_keys": 4, "face_keys": 4, "image_keys": 2, "tokens": 2}
    assert made[0] == {**own, "velocity": 4, "latents": 2, "frames": 2}
    assert made[1] == own


def test_one_expert_at_a_time_has_its_engines_alone(
    make_bundle: MakeBundle,
    make_request: MakeRequest,
    gpu: MadeUpGpu,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing of a job holds those of the other one: contexts keep their engines in memory."""
    bundle = with_plans(make_bundle(high=0.5, low=0.25))
    weight_sets = {plan.sha256: plan.weight_set for plan in bundle.manifest.plans}
    alive: dict[str, weakref.WeakSet[Any]] = {name: weakref.WeakSet() for name in ("high", "low")}
    deserialize = fake_tensorrt.Runtime.deserialize_cuda_engine

    def noted(runtime: fake_tensorrt.Runtime, plan: Any) -> Any:
        engine = deserialize(runtime, plan)
        weight_set = weight_sets[hashlib.sha256(plan).hexdigest()]
        if weight_set in alive:
            alive[weight_set].add(engine)
            assert not all(alive.values())
        return engine

    monkeypatch.setattr(fake_tensorrt.Runtime, "deserialize_cuda_engine", noted)
    request = make_request(frames=9, sampling=Sampling(steps=4))
    found = frames(bundle, request, gpu, max(expert_nbytes(bundle.manifest).values()))
    np.testing.assert_array_equal(found.frames, frames(bundle, request, gpu=None).frames)


def test_plans_wait_for_a_capture(make_bundle: MakeBundle, gpu: MadeUpGpu) -> None:
    """Loading a graph, binding it and closing it: each may wait for the whole GPU."""
    bundle = with_plan(make_bundle(), "denoiser", SIZES)
    backend = gpu.backend(GpuGraphs(gpu.load).load)
    spec = bundle.manifest.graphs["denoiser"].spec
    layout = Layout(shapes_of((*spec.inputs, *spec.outputs), SIZES))
    results: list[Any] = []

    def beside_a_capture(call: Callable[[], Any]) -> Any:
        def work() -> None:
            backend.make_current()
            results.append(call())

        worker = threading.Thread(target=work)
        with backend.device.gate.capture() as free:
            assert free
            worker.start()
            worker.join(timeout=0.05)
            assert worker.is_alive()
        worker.join()
        return results.pop()

    with backend.memory.hold("test", "tensors", layout) as holding:
        executor = beside_a_capture(lambda: backend.load(bundle, "denoiser", "shared"))
        beside_a_capture(lambda: executor.bind(SIZES, holding.tensors))
        beside_a_capture(executor.close)
    backend.close()
    gpu.require_all_given_back()


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
