"""What a job took is let go of when it is over, however that came."""

from __future__ import annotations

import gc
import traceback
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from durable import Life

from wan_trt.engine import Bundle, JobState
from wan_trt.engine.errors import AdmissionError, ExecutionError, WanTrtError
from wan_trt.server import artifacts, intake
from wan_trt.server.errors import UnavailableError
from wan_trt.server.opened import OpenedSubmission, open_submission
from wan_trt.server.principal import EVERYBODY


@pytest.fixture
def life(bundle: Bundle, tmp_path: Path) -> Iterator[Life]:
    life = Life(bundle, tmp_path / "data")
    yield life
    life.stop()


def test_its_media(life: Life, media: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures as they are in memory: refused jobs are many where deadlines are short."""
    opened: list[weakref.ref[OpenedSubmission]] = []

    def watched(*arguments: Any) -> OpenedSubmission:
        made = open_submission(*arguments)
        opened.append(weakref.ref(made))
        return made

    monkeypatch.setattr(intake, "open_submission", watched)
    done = life.submit(media)
    life.run()
    cancelled = life.submit(media)
    life.jobs.cancel(cancelled.job_id, EVERYBODY)
    life.run()
    with pytest.raises(AdmissionError):  # what it takes is known by now
        life.submit(media, steps=1000, timeout_s=0.001)
    gc.collect()
    assert [record.latest.state for record in (done, cancelled)] == [
        JobState.DONE,
        JobState.CANCELLED,
    ]
    assert [reference() for reference in opened] == [None] * 3


def test_the_frames_of_its_error(life: Life, media: dict[str, Path]) -> None:
    """They hold what was at work when it was raised, as the frames of a driving video. Whoever asks
    for the result adds theirs."""
    record = life.submit(media)
    try:
        raise ExecutionError("a wheel came off")
    except WanTrtError as error:
        record.fail(error)
    for _ in range(3):
        with pytest.raises(ExecutionError, match="a wheel came off"):
            list(artifacts.result(record, 0, follow=True, wanted=lambda: True))
    assert record.latest.error is not None
    assert record.latest.error.__traceback__ is None


def test_the_frames_of_those_who_watched_in_vain(life: Life, media: dict[str, Path]) -> None:
    record = life.submit(media)
    gone = UnavailableError("the engine stopped by a bug")
    record.leave(gone)
    life.jobs.refuse(gone)
    for _ in range(3):
        with pytest.raises(UnavailableError, match="stopped by a bug"):
            list(record.follow(1, lambda: True))
        with pytest.raises(UnavailableError, match="stopped by a bug"):
            life.submit(media)
    assert not traceback.extract_tb(gone.__traceback__)
