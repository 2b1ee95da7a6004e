"""A bundle's plans are used where they serve: whole jobs on a made-up TensorRT and driver, where
engines take memory beside the jobs'."""

from __future__ import annotations

import hashlib
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fake_tensorrt
import numpy as np
import pytest
from made_up_gpu import MadeUpGpu
from numpy.typing import NDArray
from planned_toy import plan_entry, with_plan
from toy_bundle import EXPERT_GRAPHS
from toy_jobs import MakeBundle, MakeRequest

from wan_trt.engine import AnimateRequest, Bundle, CollectedFrames, Engine, Sampling
from wan_trt.engine.capture import REPLAYED
from wan_trt.engine.cuda.graphs import GpuGraphs, PlanMemory
from wan_trt.engine.errors import BundleError, ResourceError
from wan_trt.engine.lanes import Lane
from wan_trt.engine.memory.footprint import expert_nbytes
from wan_trt.engine.memory.host import array_at
from wan_trt.engine.memory.layout import Layout, shapes_of
from wan_trt.engine.memory.pages import PAGE_NBYTES
from wan_trt.engine.plan_entry import Gpu

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
    backend = gpu.backend(GpuGraphs(gpu.load).load, experts_nbytes=experts_nbytes) if gpu else None
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


def large(bundle: Bundle, **changes: Any) -> Bundle:
    """With a denoiser's plan more in its manifest, for more columns, whose scratch no GPU has."""
    plan = plan_entry("denoiser", {**SIZES, "columns": 90})
    plans = (*bundle.manifest.plans, replace(plan, scratch_nbytes=1 << 40, **changes))
    return replace(bundle, manifest=replace(bundle.manifest, plans=plans))


@pytest.mark.parametrize("why", ["another size", "another GPU", "another TensorRT"])
def test_scratch_is_what_the_plans_in_use_need(
    make_bundle: MakeBundle, make_request: MakeRequest, gpu: MadeUpGpu, why: str
) -> None:
    changes: dict[str, dict[str, Any]] = {
        "another size": {},
        "another GPU": {"gpu": Gpu("B200", "10.0", "none")},
        "another TensorRT": {"tensorrt": "11.5.0.1"},
    }
    bundle = large(with_plan(make_bundle(), "denoiser", SIZES), **changes[why])
    backend = gpu.backend(GpuGraphs(gpu.load).load)
    with Engine(bundle, backend=backend) as engine:
        engine.generate(make_request(), CollectedFrames())
        usage = backend.memory.arena.usage
        assert list(usage.held.values()) == [1], "the scratch of the denoiser's lane"
    gpu.require_all_given_back()


def test_scratch_grows_where_it_is(gpu: MadeUpGpu) -> None:
    """Addresses that contexts know stay."""
    backend = gpu.backend()
    memory, most = PlanMemory(backend, Lane.CODING, 1 << 40), 100 * PAGE_NBYTES
    arena = backend.memory.arena
    address = memory.scratch(3000)
    assert memory.scratch(most) == memory.scratch(PAGE_NBYTES + 1) == address
    assert arena.usage.held == {("scratch-1", "plans of coding"): 100}
    array_at(address, (most,), "uint8")[:] = 1
    with pytest.raises(ResourceError, match="plans of coding wants"):
        memory.scratch(1 << 40)
    with pytest.raises(ValueError, match="plans said"):
        memory.scratch((1 << 40) + 1)
    assert memory.scratch(most) == address
    arena.check()
    backend.close()
    gpu.require_all_given_back()


@pytest.fixture
def plans_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes of each plan that TensorRT was given to load."""
    read: list[int] = []
    deserialize = fake_tensorrt.Runtime.deserialize_cuda_engine

    def noted(runtime: fake_tensorrt.Runtime, plan: Any) -> Any:
        read.append(len(plan))
        return deserialize(runtime, plan)

    monkeypatch.setattr(fake_tensorrt.Runtime, "deserialize_cuda_engine", noted)
    return read


def test_an_engine_loads_plans_before_the_first_job(
    make_bundle: MakeBundle, make_request: MakeRequest, gpu: MadeUpGpu, plans_read: list[int]
) -> None:
    """Of two sizes the larger one's, which is what jobs of that size then use."""
    bundle = make_bundle(high=0.5, low=0.25)
    for weight_set in ("high", "low"):
        bundle = with_plan(bundle, "denoiser", {**SIZES, "columns": 1}, weight_set)
        bundle = with_plan(bundle, "denoiser", SIZES, weight_set)
    bundle = with_plan(bundle, "vae_decoder_next", CLIP)
    with Engine(bundle, backend=gpu.backend(GpuGraphs(gpu.load).load)) as engine:
        engine.load()
        assert len(plans_read) == 3
        engine.generate(make_request(), CollectedFrames())
        assert len(plans_read) == 3
    gpu.require_all_given_back()


def test_nothing_is_loaded_once_frames_have_left_a_job(
    make_bundle: MakeBundle, make_request: MakeRequest, gpu: MadeUpGpu, plans_read: list[int]
) -> None:
    """A unit that finds no room beside another is done again, and frames would be written twice."""
    bundle = make_bundle()
    for graph in ("vae_decoder_first", "vae_decoder_next"):
        bundle = with_plan(bundle, graph, CLIP)
    written: list[int] = []

    class Noting(CollectedFrames):
        def write(self, frames: NDArray[np.float32]) -> None:
            written.append(len(plans_read))
            super().write(frames)

    with Engine(bundle, backend=gpu.backend(GpuGraphs(gpu.load).load)) as engine:
        engine.generate(make_request(), Noting())
    assert set(written) == {2}


def test_a_plan_that_cannot_be_loaded_is_found_before_a_job(
    make_bundle: MakeBundle, gpu: MadeUpGpu
) -> None:
    bundle = with_plan(make_bundle(), "denoiser", SIZES)
    (bundle.path / bundle.manifest.plans[0].file).write_bytes(b"something else")
    with (
        Engine(bundle, backend=gpu.backend(GpuGraphs(gpu.load).load)) as engine,
        pytest.raises(BundleError, match="has sha256"),
    ):
        engine.load()


@pytest.mark.parametrize("planned", [True, False], ids=["plans", "another executor"])
def test_experts_that_do_not_fit_together_are_loaded_in_turn(
    make_bundle: MakeBundle, make_request: MakeRequest, gpu: MadeUpGpu, planned: bool
) -> None:
    """Half of the GPU and a little more for each; half for the text encoder, which is not kept."""
    bundle, half = make_bundle(high=0.5, low=0.25), gpu.nbytes // 2 + (64 << 20)
    if planned:
        for weight_set in ("high", "low"):
            bundle = with_plan(bundle, "denoiser", SIZES, weight_set, engine_nbytes=half)
    else:
        gpu.weights_nbytes["denoiser"] = half
    gpu.weights_nbytes["text_encoder"] = gpu.nbytes // 2
    experts_nbytes = max(expert_nbytes(bundle.manifest).values())
    backend = gpu.backend(GpuGraphs(gpu.load).load, experts_nbytes=experts_nbytes)
    with Engine(bundle, backend=backend) as engine:
        engine.load()
        free_nbytes = gpu.cuda.free_nbytes
        assert free_nbytes == gpu.nbytes - half, "the high-noise expert is there"
        engine.generate(make_request(), CollectedFrames())
    gpu.require_all_given_back()
