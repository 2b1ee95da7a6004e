"""Two lanes: units of different jobs run at the same time, and all end as if they were alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from made_up_gpu import MadeUpGpu
from numpy.typing import NDArray
from toy_jobs import MakeBundle, MakeRequest, Sink

from wan_trt.engine import ArrayFrames, Bundle, Engine, Event, Sampling
from wan_trt.engine.backend import Backend
from wan_trt.engine.cuda.backend import CudaBackend
from wan_trt.engine.cuda.space import CudaSpace
from wan_trt.engine.dispatch import SchedulingOptions
from wan_trt.engine.errors import ResourceError
from wan_trt.engine.executors import Executors
from wan_trt.engine.host_backend import HostBackend
from wan_trt.engine.lanes import APART, TOGETHER, Lane
from wan_trt.engine.memory.layout import Layout, TensorShape
from wan_trt.engine.memory.pages import PAGE_NBYTES
from wan_trt.engine.models import DENOISER
from wan_trt.engine.request import AnimateRequest, JobState
from wan_trt.engine.scheduling.choice import AHEAD
from wan_trt.engine.scheduling.preference import Policy

ENOUGH = 100
FOR_ONE = 3  # a job, and a clip and a call of a graph beside it
OpenBackend = Callable[[int], Backend]


def host(pages: int) -> HostBackend:
    return HostBackend(threads=1, memory_nbytes=pages * PAGE_NBYTES)


@pytest.fixture(params=["host", "made-up GPU"])
def open_backend(request: pytest.FixtureRequest, tmp_path: Path) -> OpenBackend:
    """A backend with so many pages."""
    if request.param == "host":
        return host

    def on_gpu(pages: int) -> CudaBackend:
        backend = MadeUpGpu(tmp_path).backend()
        arena = backend.memory.arena
        rest = arena.free_nbytes - pages * arena.page_nbytes
        arena.lease(arena.reserve("others", rest), "others")
        return backend

    return on_gpu


@contextmanager
def stepped(engine: Engine) -> Iterator[None]:
    """A thread for each lane, until all jobs that a block submits are over."""
    submitted = threading.Event()
    errors: list[BaseException] = []

    def run(lane: Lane) -> None:
        try:
            while engine.step(lane) or engine._registry.live() or not submitted.is_set():
                engine.wait(0.01, lane)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(lane,)) for lane in engine.lanes]
    for thread in threads:
        thread.start()
    yield
    submitted.set()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive(), "the lanes wait for each other"
    assert not errors


def alone(bundle: Bundle, request: AnimateRequest) -> Sink:
    sink = Sink()
    with Engine(bundle, backend=HostBackend(threads=1, lanes=TOGETHER)) as engine:
        engine.generate(request, sink)
    return sink


def same(found: Sink, expected: Sink) -> None:
    assert found.endings == ["close"]
    np.testing.assert_array_equal(found.frames, expected.frames)
    assert found.latents.keys() == expected.latents.keys()
    for segment, latents in expected.latents.items():
        np.testing.assert_array_equal(found.latents[segment], latents)


@pytest.mark.parametrize("pages", [FOR_ONE, ENOUGH])
def test_jobs_in_two_lanes_end_as_if_alone(
    make_bundle: MakeBundle,
    make_request: MakeRequest,
    open_backend: OpenBackend,
    caplog: pytest.LogCaptureFixture,
    pages: int,
) -> None:
    """Long and short ones that overtake each other; with few pages some are parked, and units that
    find no room beside another are done alone."""
    bundle = make_bundle(high=0.5, low=0.25)
    samplings = [Sampling(steps=2), Sampling(steps=5, guidance=(2.0, 1.0)), Sampling(steps=3)]
    requests = [
        make_request(frames=frames, seed=frames, sampling=sampling)
        for frames in (5, 13)
        for sampling in samplings
    ]
    expected = [alone(bundle, request) for request in requests]
    backend, sinks = open_backend(pages), [Sink() for _ in requests]
    with Engine(bundle, backend=backend, scheduling=SchedulingOptions(Policy.SHORTEST)) as engine:
        assert engine.lanes == APART
        with stepped(engine):
            for request, sink in zip(requests, sinks, strict=True):
                engine.submit(request, sink)
        backend.memory.arena.check()
        assert not any(name.startswith("job") for name, _ in backend.memory.arena.usage.held)
    assert not caplog.records
    for sink, wanted in zip(sinks, expected, strict=True):
        same(sink, wanted)


def test_an_engine_comes_and_goes_in_the_memory_of_both_lanes(
    make_bundle: MakeBundle,
    make_request: MakeRequest,
    tmp_path: Path,
    shared_tokenizer: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each prompt needs the text encoder, which leaves memory for one job alone: those that wait
    are parked, and it is not loaded beside one that runs."""
    bundle = make_bundle(high=0.5, low=0.25)
    (bundle.path / "tokenizer.json").write_bytes(shared_tokenizer)
    requests = [make_request(prompt=prompt) for prompt in ("a cat", "a dog", "a cow", "a hen")]
    expected = [alone(bundle, request) for request in requests]
    gpu = MadeUpGpu(tmp_path)
    gpu.weights_nbytes["text_encoder"] = gpu.nbytes - 2 * PAGE_NBYTES  # state, and its own tensors
    sinks = [Sink() for _ in requests]
    with Engine(bundle, backend=gpu.backend()) as engine, stepped(engine):
        for request, sink in zip(requests, sinks, strict=True):
            engine.submit(request, sink)
    assert not caplog.records
    for sink, wanted in zip(sinks, expected, strict=True):
        same(sink, wanted)
    gpu.require_all_given_back()


class Gate:
    """Stops a job where it reads its pose, in the middle of its conditioning."""

    def __init__(self, request: AnimateRequest) -> None:
        pose = request.pose
        assert isinstance(pose, ArrayFrames)
        self._read, pose.read = pose.read, self.read  # type: ignore[method-assign]
        self.reached, self.opened = threading.Event(), threading.Event()

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        self.reached.set()
        assert self.opened.wait(60)
        return self._read(start, stop)


@contextmanager
def conditioning(engine: Engine, request: AnimateRequest, sink: Sink) -> Iterator[str]:
    """A job stands still in its conditioning while a block runs; its id."""
    gate = Gate(request)
    job_id = engine.submit(request, sink)
    coding = threading.Thread(target=engine.step, args=(Lane.CODING,))
    coding.start()
    try:
        assert gate.reached.wait(60)
        yield job_id
    finally:
        gate.opened.set()
        coding.join()


def open_engine(bundle: Bundle, backend: Backend) -> Engine:
    """Shortest first, with promises that nobody here can break: what a lane may do does not depend
    on how fast this machine is."""
    engine = Engine(bundle, backend=backend, scheduling=SchedulingOptions(Policy.SHORTEST))
    engine._dispatcher._scheduler._promises.bound = 1e9
    return engine


def step_until_idle(engine: Engine) -> None:
    while engine.step(Lane.CODING) or engine.step(Lane.DENOISING):
        pass


def test_a_step_runs_while_another_job_is_conditioned(
    make_bundle: MakeBundle, make_request: MakeRequest
) -> None:
    with open_engine(make_bundle(), host(ENOUGH)) as engine:
        events: list[Event] = []
        engine.submit(make_request(), Sink(), events.append)
        engine.step(Lane.CODING)
        with conditioning(engine, make_request(seed=1), Sink()):
            assert engine.step(Lane.DENOISING)
            assert events[-1].stage == "denoise"
        step_until_idle(engine)


def test_a_unit_without_room_waits_for_the_other_lanes_and_is_done_then(
    make_bundle: MakeBundle, make_request: MakeRequest
) -> None:
    """The job of the step was parked for the one that is conditioned, which cannot be."""
    bundle, backend, first, second = make_bundle(), host(FOR_ONE), Sink(), Sink()
    page = Layout({"page": TensorShape((PAGE_NBYTES,), "uint8")})
    with open_engine(bundle, backend) as engine:
        steps: list[Event] = []
        engine.submit(make_request(), first, steps.append)
        engine.step(Lane.CODING)
        denoising = threading.Thread(target=engine.step, args=(Lane.DENOISING,))
        with (
            conditioning(engine, make_request(seed=1), second),
            backend.memory.hold("others", "others", page),
        ):
            denoising.start()
            while not engine._units._crowding._wanting_alone:
                assert denoising.is_alive(), "it was done, or failed"
            assert steps[-1].stage == "conditioning"
        denoising.join()
        assert steps[-1].stage == "denoise"
        step_until_idle(engine)
    same(first, alone(bundle, make_request()))
    same(second, alone(bundle, make_request(seed=1)))


def test_what_never_fits_fails_beside_others_too(
    make_bundle: MakeBundle, make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should it be let in: what is borrowed for moments is not known at `submit`."""
    monkeypatch.setattr("wan_trt.engine.engine.require_room", lambda *_: None)
    with open_engine(make_bundle(), host(FOR_ONE)) as engine:
        fits = engine.submit(make_request(), Sink())
        large = make_request(segment_frames=4089, frames=4089, sampling=Sampling(steps=1))
        never = engine.submit(large, Sink())
        with stepped(engine):
            pass
        assert engine.summary(fits).state is JobState.DONE
        assert isinstance(engine.summary(never).error, ResourceError)


def test_a_cancelled_job_is_ended_by_the_lane_that_has_its_unit(
    make_bundle: MakeBundle, make_request: MakeRequest
) -> None:
    with open_engine(make_bundle(), host(ENOUGH)) as engine:
        out, idle = Sink(), Sink()
        waits = engine.submit(make_request(seed=2), idle)
        engine.step(Lane.CODING)
        with conditioning(engine, make_request(), out) as runs:
            engine.cancel(runs)
            engine.cancel(waits)
            assert not engine.step(Lane.DENOISING)
            assert (idle.endings, out.endings) == (["abort"], [])
        assert out.endings == ["abort"]
        assert engine.summary(runs).state is JobState.CANCELLED


def test_closing_waits_for_both_lanes(make_bundle: MakeBundle, make_request: MakeRequest) -> None:
    sink = Sink()
    engine = open_engine(make_bundle(), host(ENOUGH))
    closer = threading.Thread(target=engine.close)
    with conditioning(engine, make_request(), sink):
        closer.start()
        closer.join(timeout=0.05)
        assert closer.is_alive()
    closer.join()
    assert sink.endings == ["abort"]


@pytest.mark.parametrize("policy", Policy)
def test_few_jobs_are_conditioned_ahead(
    make_bundle: MakeBundle, make_request: MakeRequest, policy: Policy
) -> None:
    """Denoising is the bottleneck: of twenty jobs few hold memory, and not all of them."""
    backend = host(ENOUGH)
    with Engine(make_bundle(), backend=backend, scheduling=SchedulingOptions(policy)) as engine:
        ids = [engine.submit(make_request(frames=5, seed=seed), Sink()) for seed in range(20)]
        most = 0
        while engine._registry.live():
            coded = 0
            while engine.step(Lane.CODING):
                coded += 1
                held = backend.memory.arena.usage.held
                most = max(most, sum(name.startswith("job") for name, _ in held))
            denoised = engine.step(Lane.DENOISING)
            assert coded or denoised, "both lanes are idle with work to do"
        assert AHEAD <= most <= AHEAD + 3  # one is in the middle of its steps
        assert all(engine.summary(job_id).state is JobState.DONE for job_id in ids)


def test_a_short_job_is_conditioned_though_enough_wait(
    make_bundle: MakeBundle, make_request: MakeRequest
) -> None:
    events: list[Event] = []
    with open_engine(make_bundle(), host(ENOUGH)) as engine:
        for seed in range(4):
            engine.submit(make_request(seed=seed, sampling=Sampling(steps=12)), Sink())
        while engine.step(Lane.CODING):
            pass
        engine.submit(make_request(frames=5, sampling=Sampling(steps=1)), Sink(), events.append)
        assert engine.step(Lane.CODING)
        assert events[-1].stage == "conditioning"
        assert engine.step(Lane.DENOISING)
        assert events[-1].stage == "denoise"


def test_a_lane_has_its_own_graphs(make_bundle: MakeBundle) -> None:
    backend = HostBackend(threads=1)
    executors = Executors(make_bundle(), backend.load)
    with pytest.raises(AssertionError, match="denoiser is not of lane coding"):
        executors.of(Lane.CODING).get(DENOISER)
    executors.of(Lane.DENOISING).get(DENOISER)
    assert [graph for graph, _ in executors.loaded] == [DENOISER]
    executors.close()
    backend.close()


@pytest.mark.parametrize("ordered", [True, False])
def test_a_job_goes_from_stream_to_stream_by_an_event(
    make_bundle: MakeBundle,
    make_request: MakeRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ordered: bool,
) -> None:
    """The made-up GPU does what nobody waits for as late as it can: without the event the first
    step reads a condition that is not there yet."""
    expected = first_step(make_bundle(), HostBackend(threads=1), make_request())
    if not ordered:
        monkeypatch.setattr(CudaSpace, "wait_for", lambda _space, _event: None)
    bundle = Bundle.open(tmp_path / "bundle")
    found = first_step(bundle, MadeUpGpu(tmp_path).backend(), make_request())
    assert np.array_equal(found, expected) == ordered


def first_step(bundle: Bundle, backend: Backend, request: AnimateRequest) -> NDArray[np.float32]:
    """A job's latents after its first step."""
    with Engine(bundle, backend=backend) as engine:
        job_id = engine.submit(request, Sink())
        engine.step(Lane.CODING)
        engine.step(Lane.DENOISING)
        tensors = engine._registry.live_job(job_id).tensors
        assert tensors is not None
        latents = backend.spaces[Lane.DENOISING].read(tensors.step.latents)
        backend.spaces[Lane.CODING].wait()
    return latents


def test_a_lane_does_not_wait_for_the_other_ones_stream(
    make_bundle: MakeBundle, make_request: MakeRequest, tmp_path: Path
) -> None:
    """A job is decoded, and its clip's pages are given back, while another one's step has not even
    begun on the GPU."""
    backend = MadeUpGpu(tmp_path).backend()
    cuda, denoising = backend.device.bindings, backend.spaces[Lane.DENOISING]
    with open_engine(make_bundle(), backend) as engine:
        events: list[Event] = []
        for steps in (1, 5):
            request = make_request(frames=5, sampling=Sampling(steps=steps))
            engine.submit(request, Sink(), events.append)
            engine.step(Lane.CODING)
        for _ in range(2):
            engine.step(Lane.DENOISING)
        left = cuda.pending(denoising.stream)
        assert left > 0
        assert engine.step(Lane.CODING)
        assert events[-1].stage == "decode"
        assert cuda.pending(denoising.stream) == left
        step_until_idle(engine)


class SlowAbort(Sink):
    """Takes its time to be aborted."""

    def __init__(self) -> None:
        super().__init__()
        self.aborting, self.go_on = threading.Event(), threading.Event()

    def abort(self) -> None:
        self.aborting.set()
        assert self.go_on.wait(30)
        super().abort()


def test_a_job_that_one_lane_ends_is_not_run_by_the_other(
    make_bundle: MakeBundle, make_request: MakeRequest
) -> None:
    sink = SlowAbort()
    with Engine(make_bundle(), 1) as engine:
        job_id = engine.submit(make_request(), sink)
        assert engine.step(Lane.CODING), "it is conditioned"
        engine.cancel(job_id)
        ending = threading.Thread(target=engine.step, args=(Lane.CODING,))
        ending.start()
        try:
            assert sink.aborting.wait(30)
            assert not engine.step(Lane.DENOISING), "its memory is on the way out"
        finally:
            sink.go_on.set()
            ending.join()
        assert engine.summary(job_id).state is JobState.CANCELLED
