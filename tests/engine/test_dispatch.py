"""Whose turn it is in an engine: preemption between steps, deadlines, and the same bytes."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest
from toy_jobs import MakeBundle, MakeRequest, Sink, run_to_end

from wan_trt.engine import Engine, Event
from wan_trt.engine.dispatch import SchedulingOptions
from wan_trt.engine.errors import AdmissionError, StorageFullError
from wan_trt.engine.request import JobState, Sampling
from wan_trt.engine.scheduling.preference import Policy

LONG, SHORT = Sampling(steps=12), Sampling(steps=2)


@pytest.fixture
def engine(make_bundle: MakeBundle) -> Iterator[Engine]:
    with Engine(make_bundle(), 1, scheduling=SchedulingOptions(Policy.SHORTEST)) as engine:
        yield engine


def ended(events: list[Event]) -> list[str]:
    """Jobs in the order of their ends."""
    return [event.job_id for event in events if event.state.final]


def test_a_short_job_overtakes_a_long_one_between_two_steps(
    engine: Engine, make_request: MakeRequest
) -> None:
    events: list[Event] = []
    long_sink, short_sink = Sink(), Sink()
    long = engine.submit(make_request(sampling=LONG), long_sink, events.append)
    for _ in range(4):
        engine.step()
    short = engine.submit(make_request(frames=5, sampling=SHORT), short_sink, events.append)
    run_to_end(engine)
    assert ended(events) == [short, long]
    alone = Sink()
    engine.generate(make_request(sampling=LONG), alone)
    np.testing.assert_array_equal(long_sink.frames, alone.frames)
    engine.generate(make_request(frames=5, sampling=SHORT), alone := Sink())
    np.testing.assert_array_equal(short_sink.frames, alone.frames)


def test_first_come_first_served(make_bundle: MakeBundle, make_request: MakeRequest) -> None:
    events: list[Event] = []
    with Engine(make_bundle(), 1, scheduling=SchedulingOptions(Policy.FIFO)) as engine:
        long = engine.submit(make_request(sampling=LONG), Sink(), events.append)
        short = engine.submit(make_request(frames=5, sampling=SHORT), Sink(), events.append)
        run_to_end(engine)
    assert ended(events) == [long, short]


def test_owners_share_the_engine(make_bundle: MakeBundle, make_request: MakeRequest) -> None:
    """One owner's five jobs do not make another's single one wait for all of them."""
    events: list[Event] = []
    with Engine(make_bundle(), 1, scheduling=SchedulingOptions(Policy.FAIR)) as engine:
        engine.generate(
            make_request(), Sink()
        )  # graphs are loaded now: that is on nobody's account
        many = [
            engine.submit(make_request(), Sink(), events.append, owner="many") for _ in range(5)
        ]
        one = engine.submit(make_request(), Sink(), events.append, owner="one")
        run_to_end(engine)
    assert ended(events).index(one) <= 3
    assert set(ended(events)) == {one, *many}


def test_what_cannot_be_done_in_time_is_refused_at_once(
    make_bundle: MakeBundle, make_request: MakeRequest
) -> None:
    sink = Sink()
    with Engine(make_bundle(), 1) as engine:
        engine.generate(make_request(sampling=SHORT), Sink())  # now costs are known
        with pytest.raises(AdmissionError, match="cannot be done within") as caught:
            engine.submit(make_request(sampling=LONG), sink, deadline=time.time() + 1e-4)
        assert sink.endings == []
        assert caught.value.possible_in_s > 0
        assert caught.value.field == "timeout_s"
        in_time = engine.submit(make_request(sampling=SHORT), sink, deadline=time.time() + 600)
        run_to_end(engine)
        assert engine.summary(in_time).state is JobState.DONE


def test_without_admission_a_job_ends_when_its_time_is_over(
    make_bundle: MakeBundle, make_request: MakeRequest
) -> None:
    options = SchedulingOptions(admission=False)
    with Engine(make_bundle(), 1, scheduling=options) as engine:
        late = engine.submit(make_request(), Sink(), deadline=time.time() - 1)
        run_to_end(engine)
        assert engine.summary(late).state is JobState.FAILED


def test_an_idle_engine_checks_its_books(
    engine: Engine, make_request: MakeRequest, caplog: pytest.LogCaptureFixture
) -> None:
    engine.submit(make_request(), Sink())
    run_to_end(engine)
    assert not caplog.records
    engine.submit(make_request(), Sink())
    engine.step()
    arena = engine._backend.memory.arena
    lost = arena._pool.take(1)  # a page that nobody has
    run_to_end(engine)
    assert "books are wrong" in caplog.text
    arena._pool.put_back(lost)


def test_cancelled_and_failed_jobs_leave_the_schedule(
    engine: Engine, make_request: MakeRequest
) -> None:
    sinks = [Sink(), Sink(fail=OSError("gone")), Sink()]
    ids = [engine.submit(make_request(), sink) for sink in sinks]
    engine.step()
    engine.cancel(ids[0])
    run_to_end(engine)
    states = [engine.summary(job_id).state for job_id in ids]
    assert states == [JobState.CANCELLED, JobState.FAILED, JobState.DONE]
    assert not engine.wait(0)


def test_a_job_that_was_paused_has_its_place_back(
    make_bundle: MakeBundle, make_request: MakeRequest
) -> None:
    events: list[Event] = []
    full = Sink(fail=StorageFullError("no room", retry_after_s=0.0))
    with Engine(make_bundle(), 1, scheduling=SchedulingOptions(Policy.FIFO)) as engine:
        first = engine.submit(make_request(frames=9, sampling=SHORT), full, events.append)
        second = engine.submit(make_request(frames=9, sampling=LONG), Sink(), events.append)
        while not any(event.state is JobState.PAUSED for event in events):
            engine.step()
        full.fail = None
        run_to_end(engine)
    assert ended(events) == [first, second]
