"""Whole jobs with all their tensors in "device memory" equal those on the CPU, bit for bit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from made_up_gpu import MadeUpGpu
from numpy.typing import NDArray
from toy_jobs import MakeBundle, MakeRequest, Sink

from wan_trt.engine import (
    AnimateRequest,
    ArrayFrames,
    Bundle,
    CollectedFrames,
    Engine,
    Event,
    ImageToVideoRequest,
    Mode,
    Request,
    Sampling,
    SolverName,
)
from wan_trt.engine.errors import CancelledError, ExecutionError, ResourceError
from wan_trt.engine.memory.pages import PAGE_NBYTES
from wan_trt.engine.memory.residency import RESERVE_NBYTES

ALLOCATIONS = {"cuMemAlloc", "cuMemCreate", "cuMemMap", "cuMemHostAlloc", "cuMemAddressReserve"}


@pytest.fixture(scope="session")
def kernel_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture
def gpu(kernel_folder: Path) -> MadeUpGpu:
    return MadeUpGpu(kernel_folder)


def generate_on_both(bundle: Bundle, request: Request, gpu: MadeUpGpu) -> None:
    """Run a request on the CPU and on the made-up GPU, and compare all that comes out."""
    expected, found = CollectedFrames(), CollectedFrames()
    with Engine(bundle, threads=1) as engine:
        engine.generate(request, expected)
    with Engine(bundle, backend=gpu.backend()) as engine:
        engine.generate(request, found)
    assert found.latents.keys() == expected.latents.keys()
    for segment, latents in expected.latents.items():
        np.testing.assert_array_equal(found.latents[segment], latents)
    np.testing.assert_array_equal(found.frames, expected.frames)
    gpu.require_all_given_back()


@pytest.mark.parametrize("overlap", [1, 5])
@pytest.mark.parametrize("solver", SolverName)
def test_a_toy_job_equals_the_cpus(
    make_bundle: MakeBundle,
    make_request: MakeRequest,
    gpu: MadeUpGpu,
    solver: SolverName,
    overlap: int,
) -> None:
    """Several segments, both experts, guidance in one of them, replacement with masks."""
    sampling = Sampling(steps=5, solver=solver, guidance=(2.0, 1.0))
    request = make_request(
        frames=20, mode=Mode.REPLACE, segment_frames=13, overlap=overlap, sampling=sampling
    )
    generate_on_both(make_bundle(high=0.5, low=0.25), request, gpu)


def test_a_prompt_of_ones_own_is_encoded_on_the_device(
    make_bundle: MakeBundle, make_request: MakeRequest, gpu: MadeUpGpu, shared_tokenizer: bytes
) -> None:
    bundle = make_bundle()
    (bundle.path / "tokenizer.json").write_bytes(shared_tokenizer)
    both = Sampling(steps=2, guidance=(2.0, 3.0))
    request = make_request(prompt="a cat", negative_prompt="a dog", sampling=both)
    generate_on_both(bundle, request, gpu)


def test_pages_go_back_before_the_next_prompt_is_encoded(
    make_bundle: MakeBundle,
    make_request: MakeRequest,
    kernel_folder: Path,
    shared_tokenizer: bytes,
) -> None:
    """The text encoder fits beside a job's state and its own tensors, and not beside the pages
    that the VAE had of the job before."""
    gpu = MadeUpGpu(kernel_folder, RESERVE_NBYTES + 8 * PAGE_NBYTES)
    gpu.weights_nbytes["text_encoder"] = RESERVE_NBYTES + 6 * PAGE_NBYTES
    bundle = make_bundle()
    (bundle.path / "tokenizer.json").write_bytes(shared_tokenizer)
    with Engine(bundle, backend=gpu.backend()) as engine:
        for prompt in ("a cat", "a dog"):
            engine.generate(make_request(prompt=prompt), Sink())
    gpu.require_all_given_back()


def pixels(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_a_real_animate_bundle_equals_the_cpus(tiny_bundle: Bundle, gpu: MadeUpGpu) -> None:
    request = AnimateRequest(
        reference=pixels(40, 50, 3),
        pose=ArrayFrames(pixels(9, 32, 48, 3)),
        face=ArrayFrames(pixels(9, 32, 32, 3)),
        segment_frames=5,
        sampling=Sampling(steps=3, guidance=(1.5, 1.0)),
    )
    generate_on_both(tiny_bundle, request, gpu)


def test_a_real_image_to_video_bundle_equals_the_cpus(i2v_bundle: Bundle, gpu: MadeUpGpu) -> None:
    request = ImageToVideoRequest(
        reference=pixels(20, 30, 3),
        last_frame=pixels(40, 60, 3),
        frames=9,
        area=48 * 32,
        sampling=Sampling(steps=3, guidance=(2.0, 2.0)),
    )
    generate_on_both(i2v_bundle, request, gpu)


def calls_of_steps(
    gpu: MadeUpGpu, engine: Engine, request: Request
) -> list[tuple[Event, Counter[str]]]:
    """The driver's calls of each denoising step of a job."""
    steps: list[tuple[Event, Counter[str]]] = []
    seen = 0

    def watch(event: Event) -> None:
        nonlocal seen
        if event.stage == "denoise":
            steps.append((event, Counter(gpu.cuda.calls[seen:])))
        seen = len(gpu.cuda.calls)

    engine.generate(request, CollectedFrames(), watch)
    return steps


def test_steps_neither_allocate_nor_copy_latents_nor_record_graphs(
    make_bundle: MakeBundle, make_request: MakeRequest, gpu: MadeUpGpu
) -> None:
    """Two jobs of two segments, each of six steps with both experts. The second job runs at the
    first one's addresses."""
    request = make_request(frames=9, sampling=Sampling(steps=6, guidance=(2.0, 2.0)))
    with Engine(make_bundle(high=0.5, low=0.25), backend=gpu.backend()) as engine:
        first = calls_of_steps(gpu, engine, request)
        captures = gpu.captures
        second = calls_of_steps(gpu, engine, request)
        assert gpu.captures == captures, "a second job of that size records nothing"
    assert len(first) == len(second) == 12
    assert sum(executor.counts.recaptures for executor in gpu.captured) == 0
    for event, calls in (*first, *second):
        assert not calls.keys() & (ALLOCATIONS | {"cuMemcpyDtoHAsync"}), event
    for event, calls in second:
        # The block of numbers, two replays of the denoiser, the update.
        assert calls["cuMemcpyHtoDAsync"] == calls["cuLaunchKernel"] == 1, event
        assert calls["cuGraphLaunch"] == 2, event
        assert not calls["cuStreamSynchronize"], "a step waits for the one before it at most"


def held(engine_backend: Any) -> object:
    return engine_backend.memory.arena.usage.held


@pytest.mark.parametrize("stage", ["conditioning", "denoise", "decode"])
def test_a_cancelled_job_gives_its_pages_back(
    make_bundle: MakeBundle, make_request: MakeRequest, gpu: MadeUpGpu, stage: str
) -> None:
    backend = gpu.backend()
    with Engine(make_bundle(), backend=backend) as engine:

        def cancel(event: Event) -> None:
            if event.stage == stage:
                engine.cancel(event.job_id)

        with pytest.raises(CancelledError):
            engine.generate(make_request(), Sink(), cancel)
        assert held(backend) == {}
        backend.memory.arena.check()
        engine.generate(make_request(), Sink())  # the next one is not harmed
    gpu.require_all_given_back()


def failing_read(start: int, stop: int) -> NDArray[np.uint8]:
    raise ExecutionError(f"frames {start}..{stop} are lost")


def test_a_job_that_fails_within_a_stage_gives_its_pages_back(
    make_bundle: MakeBundle, make_request: MakeRequest, gpu: MadeUpGpu
) -> None:
    """A source that fails in the VAE's encoder, a sink that fails in its decoder."""
    backend = gpu.backend()
    with Engine(make_bundle(), backend=backend) as engine:
        request = make_request()
        pose = request.pose
        assert isinstance(pose, ArrayFrames)
        read, pose.read = pose.read, failing_read  # type: ignore[method-assign]
        with pytest.raises(ExecutionError, match="lost"):
            engine.generate(request, Sink())
        assert held(backend) == {}
        pose.read = read  # type: ignore[method-assign]
        with pytest.raises(ExecutionError, match="full"):
            engine.generate(request, Sink(ExecutionError("full")))
        assert held(backend) == {}
        backend.memory.arena.check()
    gpu.require_all_given_back()


@pytest.mark.parametrize(("steps", "bad"), [(4, 2), (2, 1)], ids=["in between", "at the end"])
def test_latents_that_are_not_finite_end_the_job_and_name_the_step(
    make_bundle: MakeBundle, make_request: MakeRequest, gpu: MadeUpGpu, steps: int, bad: int
) -> None:
    """The low-noise expert's weights are NaN. Nothing of the segment is written."""
    sink = Sink()
    bundle = make_bundle(high=0.5, low=float("nan"))
    with (
        Engine(bundle, backend=gpu.backend()) as engine,
        pytest.raises(ExecutionError, match=rf"segment 0, step {bad} \(timestep 833, low-noise"),
    ):
        engine.generate(make_request(sampling=Sampling(steps=steps), frames=5), sink)
    assert sink.endings == ["abort"]
    gpu.require_all_given_back()


def test_a_gpu_that_is_full_is_a_resource_error(
    make_bundle: MakeBundle, make_request: MakeRequest, gpu: MadeUpGpu
) -> None:
    backend = gpu.backend()
    gpu.cuda.fail_at["cuMemCreate"] = (2, "CUDA_ERROR_OUT_OF_MEMORY")
    with Engine(make_bundle(), backend=backend) as engine:
        with pytest.raises(ResourceError, match="no GPU memory"):
            engine.generate(make_request(), Sink())
        assert held(backend) == {}
        engine.generate(make_request(), Sink())
    gpu.require_all_given_back()


@pytest.mark.parametrize("call", ["cuStreamCreateWithPriority", "cuMemHostAlloc", "cuEventCreate"])
def test_what_cannot_be_opened_leaves_nothing_behind(gpu: MadeUpGpu, call: str) -> None:
    gpu.cuda.failures[call] = "CUDA_ERROR_OUT_OF_MEMORY"
    with pytest.raises(ResourceError):
        gpu.backend()
    gpu.require_all_given_back()


def test_jobs_that_take_turns_do_not_disturb_each_other(
    make_bundle: MakeBundle, make_request: Callable[..., AnimateRequest], gpu: MadeUpGpu
) -> None:
    bundle = make_bundle(high=0.5, low=0.25)
    requests = [make_request(seed=seed) for seed in range(3)]
    alone, together = [CollectedFrames() for _ in requests], [CollectedFrames() for _ in requests]
    with Engine(bundle, threads=1) as engine:
        for request, sink in zip(requests, alone, strict=True):
            engine.generate(request, sink)
    with Engine(bundle, backend=gpu.backend()) as engine:
        for request, sink in zip(requests, together, strict=True):
            engine.submit(request, sink)
        while engine.step():
            pass
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.frames, other.frames)
    gpu.require_all_given_back()


def test_a_server_steps_in_a_thread_of_its_own(
    make_bundle: MakeBundle, make_request: MakeRequest, gpu: MadeUpGpu
) -> None:
    """The context is current where the backend was opened; the engine sees to it elsewhere."""
    bundle = make_bundle()
    alone, found = CollectedFrames(), CollectedFrames()
    with Engine(bundle, threads=1) as engine:
        engine.generate(make_request(), alone)
    with Engine(bundle, backend=gpu.backend()) as engine:
        engine.submit(make_request(), found)

        def serve() -> None:
            while engine.step():
                pass

        worker = Thread(target=serve)
        worker.start()
        worker.join()
    np.testing.assert_array_equal(found.frames, alone.frames)
    gpu.require_all_given_back()


@pytest.mark.parametrize("stage", ["conditioning", "denoise", "decode"])
def test_an_engine_is_closed_from_another_thread_than_opened_it(
    make_bundle: MakeBundle, make_request: MakeRequest, gpu: MadeUpGpu, stage: str
) -> None:
    """In the middle of a job."""
    opened: list[Engine] = []
    opener = Thread(target=lambda: opened.append(Engine(make_bundle(), backend=gpu.backend())))
    opener.start()
    opener.join()
    (engine,) = opened
    done: list[str] = []
    engine.submit(make_request(), Sink(), lambda event: done.append(event.stage))
    while stage not in done:
        assert engine.step(), "the job ended before"
    closer = Thread(target=engine.close)
    closer.start()
    closer.join()
    gpu.require_all_given_back()
