"""The life of jobs on the toy bundle: their units, their events, their order."""

from __future__ import annotations

import numpy as np
import pytest
from toy_jobs import MakeRequest, Sink, run_to_end

from wan_trt.engine import Engine, Event, ExpertName, JobState, Sampling
from wan_trt.engine.errors import InputError
from wan_trt.engine.scheduling.unit import Stage


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
        Stage.RESULT: 1,
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


def test_jobs_run_in_the_order_of_their_arrival(engine: Engine, make_request: MakeRequest) -> None:
    finished: list[str] = []

    def watch(event: Event) -> None:
        if event.state is JobState.DONE:
            finished.append(event.job_id)

    ids = [engine.submit(make_request(seed=seed), Sink(), watch) for seed in range(3)]
    run_to_end(engine)
    assert finished == ids


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


def test_a_watcher_that_raises_does_not_harm_the_job(
    engine: Engine, make_request: MakeRequest, caplog: pytest.LogCaptureFixture
) -> None:
    def watch(event: Event) -> None:
        raise ValueError(f"no interest in {event.state}")

    sink = Sink()
    engine.generate(make_request(), sink, watch)
    assert sink.closed
    assert "watcher" in caplog.text
