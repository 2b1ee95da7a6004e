"""A disk that does not answer keeps those waiting who need it, and nobody else."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from durable import Life

from wan_trt.engine import Bundle, Event, JobState
from wan_trt.engine.errors import StorageFullError
from wan_trt.server.errors import QueueFullError
from wan_trt.server.finished_jobs import FinishedJobs
from wan_trt.server.jobs import JobOptions
from wan_trt.server.store.job_folder import JobFolder

LONG_S = 10.0
NOT_LATER = {"retry_after_s": 0.0, "expected": "", "action": "", "field": None}


@pytest.fixture
def life(bundle: Bundle, tmp_path: Path) -> Iterator[Life]:
    life = Life(bundle, tmp_path / "data", JobOptions(max_unfinished=1))
    yield life
    life.stop()


@contextmanager
def beside(action: Callable[[], Any]) -> Iterator[None]:
    """Begun in a thread of its own, and over when the block is."""
    thread = threading.Thread(target=action, daemon=True)  # one that hangs is only one failure
    thread.start()
    yield
    thread.join(LONG_S)
    assert not thread.is_alive(), "it hangs"


class SlowDisk:
    """Keeps the events of a state waiting until it `goes_on`."""

    def __init__(self, life: Life, state: JobState, monkeypatch: pytest.MonkeyPatch) -> None:
        self._reached, self._goes_on = threading.Event(), threading.Event()
        add_event = life.data.store.add_event

        def slowly(event: Event, result_nbytes: int = 0) -> None:
            if event.state is state:
                self._reached.set()
                self._goes_on.wait(3 * LONG_S)
            add_event(event, result_nbytes)

        monkeypatch.setattr(life.data.store, "add_event", slowly)

    def reached(self) -> None:
        assert self._reached.wait(LONG_S)

    def go_on(self) -> None:
        self._goes_on.set()


def test_a_caller_who_leaves_does_not_wait_for_it(
    life: Life, media: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """gRPC tells of all callers who leave in the one thread that also answers health checks."""
    record = life.submit(media)
    disk = SlowDisk(life, JobState.RUNNING, monkeypatch)
    try:
        with beside(life.engine.step):
            disk.reached()
            with beside(record.wake), beside(lambda: record.status):
                pass
            disk.go_on()
    finally:
        disk.go_on()
    assert record.latest.state is JobState.RUNNING


def test_another_process_that_keeps_the_store_to_itself_is_waited_for(
    life: Life, media: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an operator with SQLite's shell. It was a bug of the engine, which ended all jobs."""
    monkeypatch.setattr(StorageFullError.__init__, "__kwdefaults__", NOT_LATER)
    record = life.submit(media)
    with life.data.store._database.reading() as connection:
        connection.execute("PRAGMA busy_timeout = 0")
    add_event, shell = life.data.store.add_event, sqlite3.connect(life.data.path / "jobs.sqlite3")

    def add_event_in_vain(event: Event, result_nbytes: int = 0) -> None:
        """The unit runs when the shell comes."""
        if event.stage and not shell.in_transaction:
            shell.execute("BEGIN IMMEDIATE")
        add_event(event, result_nbytes)

    with monkeypatch.context() as patch, contextlib.closing(shell):
        patch.setattr(life.data.store, "add_event", add_event_in_vain)
        for _ in range(5):
            life.engine.step()
        assert shell.in_transaction
        shell.rollback()
    life.run()
    record.flush()
    states = [event.state for event in record.events(0)]
    assert states[-1] is JobState.DONE
    assert JobState.PAUSED in states


@pytest.mark.parametrize("broken", [(JobFolder, "keep_only"), (FinishedJobs, "take_old")])
def test_a_job_is_over_though_it_cannot_be_tidied(
    life: Life,
    media: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    broken: tuple[type, str],
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EBUSY, "a file on a network is still open")

    record = life.submit(media)
    with monkeypatch.context() as patch:
        life.engine.step()
        patch.setattr(*broken, fail)
        life.run()
    assert record.latest.state is JobState.DONE
    assert life.submit(media).latest.state is JobState.QUEUED
    life.jobs.tidy()


def test_a_job_ends_while_another_finds_no_place(
    life: Life, media: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who finds none is told when the first may be free, by all jobs; one of them gives its place
    back at that moment."""
    record = life.submit(media, steps=1)
    disk = SlowDisk(life, JobState.DONE, monkeypatch)

    def submit() -> None:
        with pytest.raises(QueueFullError):
            life.submit(media)

    try:
        with beside(life.run):
            disk.reached()
            with beside(submit):
                threading.Timer(0.2, disk.go_on).start()
    finally:
        disk.go_on()
    assert record.latest.state is JobState.DONE
    assert life.submit(media).latest.state is JobState.QUEUED
