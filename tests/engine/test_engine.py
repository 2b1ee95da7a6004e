"""The life of jobs on the toy bundle: events, order, cancellation, failure, cleaning up."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

import wan_trt.engine
from wan_trt.engine import (
    AnimateRequest,
    ArrayFrames,
    Bundle,
    CollectedFrames,
    Engine,
    Event,
    ExpertName,
    JobState,
    Mode,
    Sampling,
)
from wan_trt.engine.errors import (
    BundleError,
    CancelledError,
    ExecutionError,
    InputError,
    NotFoundError,
    ResourceError,
)
from wan_trt.engine.scheduler import Stage

MakeRequest = Callable[..., AnimateRequest]
MakeBundle = Callable[..., Bundle]


class Sink(CollectedFrames):
    """Counts how it was left, and can be made to fail."""

    def __init__(self, fail: Exception | None = None) -> None:
        super().__init__()
        self.fail = fail
        self.endings: list[str] = []

    def write(self, frames: NDArray[np.float32]) -> None:
        if self.fail is not None:
            raise self.fail
        super().write(frames)

    def close(self) -> None:
        self.endings.append("close")
        super().close()

    def abort(self) -> None:
        self.endings.append("abort")
        super().abort()


@pytest.fixture
def engine(make_bundle: MakeBundle) -> Iterator[Engine]:
    with Engine(make_bundle(), threads=1) as engine:
        yield engine


def run_to_end(engine: Engine) -> None:
    while engine.step():
        pass


def test_generates_as_many_frames_as_the_driver_has(
    engine: Engine, make_request: MakeRequest
) -> None:
    sink = Sink()
    summary = engine.generate(make_request(frames=11), sink)
    assert sink.frames.shape == (11, 16, 32, 3)
    assert sink.frames.dtype == np.float32
    assert np.abs(sink.frames).max() <= 1
    assert sink.endings == ["close"]
    assert sorted(sink.latents) == [0, 1, 2]
    assert sink.latents[2].shape == (16, 3, 2, 4)
    assert summary.state is JobState.DONE
    assert {stage: usage.runs for stage, usage in summary.stages.items()} == {
        Stage.CONDITIONING: 3,
        Stage.DENOISE: 9,
        Stage.DECODE: 3,
    }


def test_events_tell_the_whole_life_without_gaps(engine: Engine, make_request: MakeRequest) -> None:
    events: list[Event] = []
    engine.generate(make_request(frames=6, sampling=Sampling(steps=2)), Sink(), events.append)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert [(e.state.value, e.stage, e.segment, e.step, e.frames) for e in events] == [
        ("queued", "", 0, 0, 0),
        ("running", "", 0, 0, 0),
        ("running", "conditioning", 0, 0, 0),
        ("running", "denoise", 0, 1, 0),
        ("running", "denoise", 0, 2, 0),
        ("running", "decode", 0, 2, 5),
        ("running", "", 1, 0, 5),
        ("running", "conditioning", 1, 0, 5),
        ("running", "denoise", 1, 1, 5),
        ("running", "denoise", 1, 2, 5),
        ("running", "decode", 1, 2, 6),
        ("done", "", 1, 2, 6),
    ]
    denoise = [event for event in events if event.stage == "denoise"]
    assert [(e.timestep, e.expert) for e in denoise[:2]] == [
        (999, ExpertName.HIGH),
        (833, ExpertName.LOW),
    ]
    assert {(e.segments, e.steps, e.total_frames) for e in events} == {(2, 2, 6)}
    assert all(event.eta_s is not None for event in events[3:])
    assert events[-1].eta_s == 0


def test_the_forecast_counts_the_decoding_that_is_to_come(
    engine: Engine, make_request: MakeRequest
) -> None:
    events: list[Event] = []
    engine.generate(make_request(frames=5), Sink(), events.append)
    last = [event for event in events if event.stage == "denoise"][-1]
    assert last.eta_s is not None
    assert last.eta_s > 0


def test_the_same_seed_gives_the_same_video(engine: Engine, make_request: MakeRequest) -> None:
    first, again, other = Sink(), Sink(), Sink()
    engine.generate(make_request(seed=7), first)
    engine.generate(make_request(seed=7), again)
    engine.generate(make_request(seed=8), other)
    np.testing.assert_array_equal(first.frames, again.frames)
    assert np.abs(first.frames - other.frames).max() > 1e-3


def test_jobs_run_in_the_order_of_their_arrival(engine: Engine, make_request: MakeRequest) -> None:
    finished: list[str] = []

    def watch(event: Event) -> None:
        if event.state is JobState.DONE:
            finished.append(event.job_id)

    ids = [engine.submit(make_request(seed=seed), Sink(), watch) for seed in range(3)]
    run_to_end(engine)
    assert finished == ids


@pytest.mark.parametrize(
    "changes",
    [
        {"reference": np.full((20, 30, 3), 255, np.uint8)},
        {"pose": ArrayFrames(np.full((9, 16, 32, 3), 255, np.uint8))},
        {"face": ArrayFrames(np.full((9, 8, 8, 3), 255, np.uint8))},
        {"background": ArrayFrames(np.full((9, 16, 32, 3), 255, np.uint8))},
        {"mask": ArrayFrames(np.full((9, 16, 32, 3), 255, np.uint8))},
        {"prompt": "another prompt"},
        {"sampling": Sampling(steps=3, guidance=(2.0, 1.0))},
        {"sampling": Sampling(steps=3, guidance=(1.0, 2.0))},
        {"sampling": Sampling(steps=3, guidance=(2.0, 2.0)), "negative_prompt": "something"},
    ],
    ids=lambda changes: " ".join(changes),
)
def test_every_input_reaches_the_result(
    make_bundle: MakeBundle, make_request: MakeRequest, shared_tokenizer: bytes, changes: object
) -> None:
    bundle = make_bundle()
    (bundle.path / "tokenizer.json").write_bytes(shared_tokenizer)
    assert isinstance(changes, dict)
    base = {"sampling": changes["sampling"]} if "negative_prompt" in changes else {}
    plain, changed = Sink(), Sink()
    with Engine(bundle, threads=1) as engine:
        engine.generate(make_request(mode=Mode.REPLACE, **base), plain)
        engine.generate(make_request(mode=Mode.REPLACE, **changes), changed)
    assert np.abs(plain.frames - changed.frames).max() > 1e-4


@pytest.mark.parametrize(("boundary", "guidance"), [(2.0, (5.0, 1.0)), (0.0, (1.0, 5.0))])
def test_guidance_of_an_expert_that_never_runs_changes_nothing(
    make_bundle: MakeBundle,
    make_request: MakeRequest,
    boundary: float,
    guidance: tuple[float, float],
) -> None:
    """A boundary of 0 gives all timesteps to the high-noise expert, one above 1 none."""
    plain, guided = Sink(), Sink()
    with Engine(make_bundle(boundary=boundary), threads=1) as engine:
        engine.generate(make_request(), plain)
        engine.generate(make_request(sampling=Sampling(steps=3, guidance=guidance)), guided)
    np.testing.assert_array_equal(plain.frames, guided.frames)


def test_each_expert_runs_with_its_own_weights(
    make_bundle: MakeBundle, make_request: MakeRequest
) -> None:
    """The low-noise expert's weights are NaN: the first step below the boundary must fail."""
    with Engine(make_bundle(high=0.5, low=float("nan")), threads=1) as engine:
        sink = Sink()
        events: list[Event] = []
        with pytest.raises(ExecutionError, match=r"segment 0, step 2 \(timestep 833, low-noise"):
            engine.generate(make_request(sampling=Sampling(steps=4), frames=5), sink, events.append)
    assert sink.endings == ["abort"]
    assert [event.stage for event in events if event.stage] == [
        "conditioning",
        "denoise",
        "denoise",
    ]


def test_a_failing_sink_ends_its_job_only(engine: Engine, make_request: MakeRequest) -> None:
    events: list[Event] = []
    broken, whole = Sink(fail=RuntimeError("tape torn")), Sink()
    job_id = engine.submit(make_request(), broken, events.append)
    engine.submit(make_request(), whole)
    run_to_end(engine)
    assert events[-1].state is JobState.FAILED
    assert isinstance(events[-1].error, ExecutionError)
    assert "tape torn" in str(events[-1].error)
    assert [event.state.final for event in events].count(True) == 1
    assert engine.summary(job_id).error is events[-1].error
    assert broken.endings == ["abort"]
    assert whole.endings == ["close"]


@pytest.mark.parametrize("end", ["a bug", "an error", "cancelled"])
def test_nothing_large_stays_of_a_job_that_ended_early(
    engine: Engine, make_request: MakeRequest, end: str
) -> None:
    """Errors that are kept must not keep the frames that they came through."""

    class Ending(Sink):
        def write(self, frames: NDArray[np.float32]) -> None:
            del frames
            if end == "cancelled":
                engine.cancel(job_id)
            elif end == "a bug":
                raise RuntimeError("torn")
            else:
                raise ResourceError("full") from OSError("the disk")

    events: list[Event] = []
    job_id = engine.submit(make_request(), Ending(), events.append)
    engine.step()
    tensors = engine._jobs[job_id].tensors
    assert tensors is not None
    left: list[weakref.ref[object]] = [
        weakref.ref(held) for held in (tensors, tensors.denoiser, engine._jobs[job_id])
    ]
    del tensors
    run_to_end(engine)
    gc.collect()
    assert events[-1].state is (JobState.CANCELLED if end == "cancelled" else JobState.FAILED)
    assert [ref() for ref in left] == [None, None, None]
    error = engine.summary(job_id).error
    assert error is not None
    assert error is events[-1].error
    assert (error.__traceback__, error.__cause__, error.__context__) == (None, None, None)


def test_the_error_that_is_kept_does_not_learn_of_its_callers(
    engine: Engine, make_request: MakeRequest
) -> None:
    events: list[Event] = []
    with pytest.raises(ResourceError, match="full") as caught:
        engine.generate(make_request(), Sink(fail=ResourceError("full")), events.append)
    kept = events[-1].error
    assert kept is not None
    assert kept is not caught.value
    assert kept.__traceback__ is None
    assert str(kept) == str(caught.value)


def test_a_sink_is_opened_for_valid_requests_only(
    engine: Engine, make_request: MakeRequest
) -> None:
    opened: list[Sink] = []

    def open_sink() -> Sink:
        opened.append(Sink())
        return opened[-1]

    with pytest.raises(InputError, match="seed"):
        engine.submit(make_request(seed=-1), open_sink)
    assert not opened
    engine.generate(make_request(), open_sink)
    engine.submit(make_request(), open_sink, job_id="mine")
    with pytest.raises(InputError, match="taken"):
        engine.submit(make_request(), open_sink, job_id="mine")
    run_to_end(engine)
    assert [sink.endings for sink in opened] == [["close"], ["close"], ["abort"]]


def test_an_interrupt_while_submitting_ends_the_job(
    engine: Engine, make_request: MakeRequest
) -> None:
    def watch(event: Event) -> None:
        if event.state is JobState.QUEUED:
            raise KeyboardInterrupt

    sink = Sink()
    with pytest.raises(KeyboardInterrupt):
        engine.generate(make_request(), lambda: sink, watch)
    assert sink.endings == ["abort"]
    assert not engine.step()


def test_a_full_disk_is_a_resource_error(engine: Engine, make_request: MakeRequest) -> None:
    with pytest.raises(ResourceError, match="No space left"):
        engine.generate(make_request(), Sink(fail=OSError(28, "No space left on device")))


def test_a_sink_that_cannot_close_fails_the_job(engine: Engine, make_request: MakeRequest) -> None:
    class Unclosable(Sink):
        def close(self) -> None:
            super().close()
            raise ResourceError("no room for the index")

    sink = Unclosable()
    with pytest.raises(ResourceError, match="no room"):
        engine.generate(make_request(), sink)
    assert sink.endings == ["close", "abort"]


def test_a_watcher_that_raises_does_not_harm_the_job(
    engine: Engine, make_request: MakeRequest, caplog: pytest.LogCaptureFixture
) -> None:
    def watch(event: Event) -> None:
        raise ValueError(f"no interest in {event.state}")

    sink = Sink()
    engine.generate(make_request(), sink, watch)
    assert sink.closed
    assert "watcher" in caplog.text


def test_cancelling_while_queued_and_while_running(
    engine: Engine, make_request: MakeRequest
) -> None:
    running, queued, last = Sink(), Sink(), Sink()
    events: list[Event] = []
    first = engine.submit(make_request(), running, events.append)
    second = engine.submit(make_request(), queued, events.append)
    engine.submit(make_request(), last)
    engine.step()
    engine.step()
    engine.cancel(first)
    engine.cancel(second)
    run_to_end(engine)
    assert running.endings == queued.endings == ["abort"]
    assert last.endings == ["close"]
    finals = [event for event in events if event.state.final]
    assert [(e.job_id, e.state) for e in finals] == [
        (first, JobState.CANCELLED),
        (second, JobState.CANCELLED),
    ]
    engine.cancel(first)  # a second cancellation is no error
    assert engine.summary(first).state is JobState.CANCELLED


def test_cancelling_from_a_watcher_stops_within_the_unit(
    engine: Engine, make_request: MakeRequest
) -> None:
    def watch(event: Event) -> None:
        if event.stage == "conditioning":
            engine.cancel(event.job_id)

    with pytest.raises(CancelledError):
        engine.generate(make_request(), Sink(), watch)


def test_an_interrupt_aborts_the_sink_and_goes_on_to_the_caller(
    engine: Engine, make_request: MakeRequest
) -> None:
    def watch(event: Event) -> None:
        if event.stage == "denoise":
            raise KeyboardInterrupt

    sink = Sink()
    with pytest.raises(KeyboardInterrupt):
        engine.generate(make_request(), sink, watch)
    assert sink.endings == ["abort"]
    after = Sink()
    engine.generate(make_request(), after)
    assert after.closed


def test_closing_cancels_what_is_left(make_bundle: MakeBundle, make_request: MakeRequest) -> None:
    engine = Engine(make_bundle(), threads=1)
    sink = Sink()
    job_id = engine.submit(make_request(), sink)
    engine.step()
    engine.close()
    engine.close()
    assert sink.endings == ["abort"]
    assert engine.summary(job_id).state is JobState.CANCELLED
    with pytest.raises(ResourceError, match="closed"):
        engine.submit(make_request(), Sink())


def test_unknown_jobs_and_taken_ids(engine: Engine, make_request: MakeRequest) -> None:
    with pytest.raises(NotFoundError, match="nobody"):
        engine.cancel("nobody")
    with pytest.raises(NotFoundError):
        engine.summary("nobody")
    engine.submit(make_request(), Sink(), job_id="mine")
    with pytest.raises(InputError, match="taken"):
        engine.submit(make_request(), Sink(), job_id="mine")


def test_submitting_from_other_threads(engine: Engine, make_request: MakeRequest) -> None:
    """One thread steps while others submit: the first event of each job is its arrival."""
    events: dict[str, list[Event]] = {}
    done = threading.Event()

    def watch(event: Event) -> None:
        events.setdefault(event.job_id, []).append(event)

    def serve() -> None:
        while not done.is_set():
            if not engine.step():
                engine.wait(timeout_s=0.05)

    server = threading.Thread(target=serve)
    server.start()
    sinks = [Sink() for _ in range(6)]
    clients = [
        threading.Thread(target=engine.submit, args=(make_request(), sink, watch)) for sink in sinks
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    while engine.wait(timeout_s=0):
        pass
    done.set()
    server.join()
    assert all(sink.endings == ["close"] for sink in sinks)
    for told in events.values():
        assert [event.sequence for event in told] == list(range(1, len(told) + 1))
        assert told[0].state is JobState.QUEUED
        assert told[-1].state is JobState.DONE


@pytest.mark.parametrize("threads", [-1, 0, 100_000])
def test_numbers_of_threads_that_make_no_sense(make_bundle: MakeBundle, threads: int) -> None:
    with pytest.raises(InputError, match=f"threads: {threads}; expected 1 to"):
        Engine(make_bundle(), threads)


def test_a_bundle_without_a_graph_is_refused(make_bundle: MakeBundle) -> None:
    bundle = make_bundle()
    graphs = {k: v for k, v in bundle.manifest.graphs.items() if k != "denoiser"}
    object.__setattr__(bundle.manifest, "graphs", graphs)
    with pytest.raises(BundleError, match="denoiser"):
        Engine(bundle)


def test_importing_the_package_loads_no_backend() -> None:
    code = (
        "import sys, wan_trt.engine, wan_trt.engine.errors, wan_trt.engine.request;"
        "sys.exit('onnxruntime' in sys.modules or 'torch' in sys.modules)"
    )
    paths = os.pathsep.join(path for path in sys.path if path)
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": paths})


def test_every_public_name_can_be_imported() -> None:
    assert all(getattr(wan_trt.engine, name) for name in wan_trt.engine.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Enigne'"):
        wan_trt.engine.Enigne  # noqa: B018
