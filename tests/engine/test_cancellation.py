"""Jobs that are cancelled or interrupted, at whatever moment."""

from __future__ import annotations

import pytest
from toy_jobs import MakeRequest, Sink, run_to_end

from wan_trt.engine import Engine, Event, JobState
from wan_trt.engine.errors import CancelledError


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
