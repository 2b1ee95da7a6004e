"""Jobs that fail: one typed error, an aborted sink, nothing left behind, neighbours go on."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from numpy.typing import NDArray
from toy_jobs import MakeRequest, Sink, run_to_end

from wan_trt.engine import Engine, Event, JobState
from wan_trt.engine.errors import ExecutionError, ResourceError
from wan_trt.engine.scheduling.unit import Stage
from wan_trt.engine.stages.pipeline import Pipeline


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


def test_a_preview_that_fails_ends_nothing(
    engine: Engine, make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was a bug of the engine, which ended all jobs. Who waits gets the next one."""

    def no_memory(*_: object) -> None:
        raise MemoryError

    whole = Sink()
    job_id = engine.submit(make_request(), whole)
    preview = engine.preview(job_id)
    with monkeypatch.context() as patch:
        patch.setattr(Pipeline, "clean_estimate", no_memory)
        for _ in range(2):
            engine.step()
        assert engine.summary(job_id).stages[Stage.DENOISE]
        assert not preview.done()
    run_to_end(engine)
    assert preview.result(0).dtype == np.uint8
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
    tensors = engine._registry.live_job(job_id).tensors
    assert tensors is not None
    left: list[weakref.ref[object]] = [
        weakref.ref(held) for held in (tensors, tensors.denoiser, engine._registry.live_job(job_id))
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
