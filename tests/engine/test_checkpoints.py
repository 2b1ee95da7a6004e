"""Jobs that are taken up again by another engine, that wait, that are out of time."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import CancelledError as Withdrawn
from pathlib import Path

import numpy as np
import pytest
from made_up_gpu import MadeUpGpu
from numpy.typing import NDArray
from toy_jobs import MakeBundle, MakeRequest, Sink, run_to_end

from wan_trt.engine import Bundle, Engine, Event, JobState, Sampling, SolverName
from wan_trt.engine.checkpoint import Checkpoint
from wan_trt.engine.cursor import Cursor
from wan_trt.engine.errors import DeadlineError, ExecutionError, StorageFullError
from wan_trt.engine.scheduling.unit import Stage
from wan_trt.engine.segments import plan_segments


class Kept:
    """Keeps all checkpoints, and can be full."""

    def __init__(self, every_steps: int = 1) -> None:
        self.every_steps = every_steps
        self.suspected = False
        self.checkpoints: list[Checkpoint] = []
        self.full = False

    def begin_work(self) -> None:
        """Nobody asks who was at work."""

    def end_work(self) -> None:
        """Nor until when."""

    def save(self, checkpoint: Checkpoint) -> None:
        if self.full:
            raise StorageFullError("no room for a checkpoint", retry_after_s=0.01)
        self.checkpoints.append(checkpoint)

    @property
    def cursors(self) -> list[tuple[int, Stage, int]]:
        return [(c.cursor.segment, c.cursor.stage, c.cursor.step) for c in self.checkpoints]


def test_checkpoints_are_kept_where_segments_end_and_every_so_many_steps(
    engine: Engine, make_request: MakeRequest
) -> None:
    for every, within in ((0, []), (2, [(0, Stage.DENOISE, 2)]), (3, [(0, Stage.DECODE, 2)])):
        kept = Kept(every)
        engine.submit(make_request(frames=5), Sink(), keep=kept)
        run_to_end(engine)
        assert kept.cursors == [*within, (0, Stage.RESULT, 2)]
    kept = Kept(0)
    engine.submit(make_request(frames=9), Sink(), keep=kept)
    run_to_end(engine)
    assert kept.cursors == [(1, Stage.CONDITIONING, 0), (1, Stage.RESULT, 2)]


OpenEngine = Callable[[Bundle], Engine]


@pytest.fixture(params=["host", "made-up GPU"])
def open_engine(request: pytest.FixtureRequest, tmp_path: Path) -> OpenEngine:
    if request.param == "host":
        return lambda bundle: Engine(bundle, threads=1)
    gpu = MadeUpGpu(tmp_path)
    return lambda bundle: Engine(bundle, backend=gpu.backend())


@pytest.mark.parametrize("solver", list(SolverName))
@pytest.mark.parametrize("overlap", [1, 5])
def test_a_job_that_goes_on_anywhere_gives_the_same_frames(
    make_bundle: MakeBundle,
    make_request: MakeRequest,
    open_engine: OpenEngine,
    solver: SolverName,
    overlap: int,
) -> None:
    """Its experts differ, so the solver's history crosses from one to the other."""
    frames, segment_frames = (13, 5) if overlap == 1 else (20, 13)
    request = make_request(
        frames=frames,
        overlap=overlap,
        segment_frames=segment_frames,
        sampling=Sampling(steps=4, solver=solver, guidance=(1.0, 1.5)),
    )
    bundle = make_bundle(high=0.5, low=0.25)
    kept, whole = Kept(), Sink()
    with open_engine(bundle) as engine:
        engine.submit(request, whole, keep=kept)
        run_to_end(engine)
    segments = plan_segments(frames, segment_frames, overlap).segments
    assert len(kept.checkpoints) == 5 * len(segments)
    with open_engine(bundle) as again:
        for checkpoint in kept.checkpoints:
            rest = Sink()
            again.submit(request, rest, resume=checkpoint)
            run_to_end(again)
            assert rest.endings == ["close"]
            if checkpoint.cursor.stage is Stage.RESULT:
                assert not rest.latents
                continue
            done = segments[: checkpoint.cursor.segment]
            assert sorted(rest.latents) == list(range(len(done), len(segments)))
            missing = whole.frames[sum(segment.kept for segment in done) :]
            np.testing.assert_array_equal(rest.frames, missing)


def test_a_resumed_job_tells_where_it_stands(engine: Engine, make_request: MakeRequest) -> None:
    kept, events = Kept(), list[Event]()
    engine.submit(make_request(frames=9), Sink(), keep=kept)
    run_to_end(engine)
    in_second = next(c for c in kept.checkpoints if c.cursor == Cursor(1, Stage.DENOISE, 2))
    engine.submit(make_request(frames=9), Sink(), events.append, resume=in_second)
    run_to_end(engine)
    assert [(e.state.value, e.stage, e.segment, e.step, e.frames) for e in events] == [
        ("queued", "", 1, 0, 5),
        ("running", "", 1, 0, 5),
        ("running", "conditioning", 1, 0, 5),
        ("running", "denoise", 1, 3, 5),
        ("running", "decode", 1, 3, 9),
        ("done", "", 1, 3, 9),
    ]


def test_a_suspended_job_leaves_its_newest_state(
    make_bundle: MakeBundle, make_request: MakeRequest
) -> None:
    bundle, kept, sink, events = make_bundle(), Kept(every_steps=0), Sink(), list[Event]()
    engine = Engine(bundle, threads=1)
    engine.submit(make_request(), sink, events.append, keep=kept)
    gone = engine.submit(make_request(), Sink())
    for _ in range(3):  # conditioning and two steps
        engine.step()
    engine.suspend()
    assert kept.cursors == [(0, Stage.DENOISE, 2)]
    assert sink.endings == ["abort"]
    assert events[-1].state is JobState.QUEUED
    assert engine.summary(gone).state is JobState.CANCELLED

    whole, rest = Sink(), Sink()
    with Engine(bundle, threads=1) as again:
        again.generate(make_request(), whole)
        again.submit(make_request(), rest, resume=kept.checkpoints[-1])
        run_to_end(again)
    np.testing.assert_array_equal(rest.frames, whole.frames)


def test_suspending_within_a_unit_stops_it(
    make_bundle: MakeBundle, make_request: MakeRequest
) -> None:
    """A decoding that has begun is done again as a whole."""
    bundle, kept = make_bundle(), Kept(every_steps=0)
    engine = Engine(bundle, threads=1)

    class Last(Sink):
        def write_latents(self, segment: int, latents: NDArray[np.float32]) -> None:
            super().write_latents(segment, latents)
            job.suspend_requested = True

    job_id = engine.submit(make_request(frames=9), Last(), keep=kept)
    job = engine._registry.live_job(job_id)
    run_to_end(engine)
    assert kept.cursors == [(0, Stage.DECODE, 2)]
    engine.close()
    rest, whole = Sink(), Sink()
    with Engine(bundle, threads=1) as again:
        again.submit(make_request(frames=9), rest, resume=kept.checkpoints[-1])
        run_to_end(again)
        again.generate(make_request(frames=9), whole)
    np.testing.assert_array_equal(rest.frames, whole.frames)


def test_a_job_waits_while_the_disk_is_full_and_others_go_on(
    engine: Engine, make_request: MakeRequest
) -> None:
    full, kept, sink, events = Sink(), Kept(), Sink(), list[Event]()
    full.fail = StorageFullError("no room for frames", retry_after_s=0.01)
    waiting = engine.submit(make_request(frames=9), full, events.append)
    kept.full = True
    also = engine.submit(make_request(frames=9, seed=1), sink, events.append, keep=kept)
    other = engine.submit(make_request(frames=5), Sink())
    for _ in range(40):
        engine.wait()
        engine.step()
    assert engine.summary(other).state is JobState.DONE
    assert engine.summary(waiting).state is engine.summary(also).state is JobState.PAUSED
    paused = [event for event in events if event.state is JobState.PAUSED]
    assert [event.job_id for event in paused] == [waiting, also]
    assert "no room for frames" in str(paused[0].error)

    full.fail, kept.full = None, False
    while any(not engine.summary(job_id).state.final for job_id in (waiting, also)):
        assert engine.wait()
        engine.step()
    whole = Sink()
    engine.generate(make_request(frames=9), whole)
    np.testing.assert_array_equal(full.frames, whole.frames)
    assert len(kept.cursors) == len(set(kept.cursors))
    for job_id in (waiting, also):
        mine = [event for event in events if event.job_id == job_id]
        assert [event.sequence for event in mine] == list(range(1, len(mine) + 1))
        units = [(event.stage, event.segment, event.step) for event in mine if event.stage]
        assert len(units) == len(set(units)) == 10


def test_a_paused_job_can_be_cancelled(engine: Engine, make_request: MakeRequest) -> None:
    sink = Sink(fail=StorageFullError("no room", retry_after_s=1000))
    job_id = engine.submit(make_request(), sink)
    run_to_end(engine)
    assert engine.summary(job_id).state is JobState.PAUSED
    assert not engine.wait(0)
    engine.cancel(job_id)
    assert engine.wait()
    engine.step()
    assert engine.summary(job_id).state is JobState.CANCELLED
    assert sink.endings == ["abort"]


def test_what_cannot_be_kept_for_another_reason_ends_the_job(
    engine: Engine, make_request: MakeRequest
) -> None:
    class Torn(Kept):
        def save(self, checkpoint: Checkpoint) -> None:
            raise ValueError(f"torn at {checkpoint.cursor}")

    job_id, other = (engine.submit(make_request(), Sink(), keep=k) for k in (Torn(), Kept()))
    run_to_end(engine)
    assert isinstance(engine.summary(job_id).error, ExecutionError)
    assert engine.summary(other).state is JobState.DONE


def test_a_deadline_ends_a_job_between_two_steps(engine: Engine, make_request: MakeRequest) -> None:
    events: list[Event] = []

    def watch(event: Event) -> None:
        events.append(event)
        if event.stage == "denoise":
            job.deadline = time.time() - 1

    job_id = engine.submit(make_request(), Sink(), watch, deadline=time.time() + 1000)
    job = engine._registry.live_job(job_id)
    late = engine.submit(make_request(), Sink(), deadline=time.time() - 1)
    other = engine.submit(make_request(), Sink())
    run_to_end(engine)
    assert [event.stage for event in events if event.stage] == ["conditioning", "denoise"]
    assert isinstance(engine.summary(job_id).error, DeadlineError)
    assert isinstance(engine.summary(late).error, DeadlineError)
    assert engine.summary(late).state is JobState.FAILED
    assert engine.summary(other).state is JobState.DONE


def test_previews_on_request(engine: Engine, make_request: MakeRequest) -> None:
    events: list[Event] = []
    job_id = engine.submit(make_request(), Sink(), events.append)
    first, second = engine.preview(job_id), engine.preview(job_id)
    engine.step()
    assert not first.done()
    engine.step()
    pictures = first.result(0)
    assert pictures.shape == (2, 2, 4, 3)
    assert pictures.dtype == np.uint8
    np.testing.assert_array_equal(pictures, second.result(0))
    never = engine.preview(job_id)
    engine.cancel(job_id)
    engine.step()
    with pytest.raises(Withdrawn):
        never.result(0)
