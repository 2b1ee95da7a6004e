"""What the server knows of one job: its events, its result, and who waits for news."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from wan_trt.engine.errors import (
    CancelledError,
    InputError,
    StorageFullError,
    WanTrtError,
    without_frames,
)
from wan_trt.engine.request import Event, JobState
from wan_trt.server.errors import NotReadyError, UnavailableError
from wan_trt.server.store.store import SegmentRow, Store, StoredJob
from wan_trt.server.submission import JobStatus, Submission, VideoFormat

_log = logging.getLogger(__name__)


class JobRecord:
    """Written by the thread that steps the engine, read by any number of watchers.

    Its events lie in the job store, and count when they are there: a watcher can come late or
    come back, also to the next process. They are numbered here: a job that is taken up again goes
    on counting.

    Who writes may wait for the disk, and for whoever `on_final` waits for. Who reads or wakes does
    not wait for who writes: among them is the one thread in which gRPC tells that callers left.
    """

    def __init__(
        self,
        stored: StoredJob,
        submission: Submission,
        bundle: str,
        path: Path,
        store: Store,
        on_final: Callable[[JobRecord, Event], None],
    ) -> None:
        """`bundle` is the name of the one that makes it; `path` where its result will appear. What
        the store has of the job is known. `on_final` is called when the store has the final event,
        and before anybody else learns of it."""
        self.job_id = stored.job_id
        self.idempotency_key = stored.idempotency_key
        self.owner = stored.owner
        self.submission = submission
        self.bundle = bundle
        self.path = path
        self.video: VideoFormat | None = stored.video
        self._submitted = stored.submitted
        self._finished = stored.finished
        self._store = store
        self._on_final = on_final
        self._latest = store.latest(stored.job_id)
        self._before_s = self._latest.elapsed_s if self._latest else 0.0
        self._segments = store.segments(stored.job_id)
        self._readers = 0
        self._left: Callable[[], None] | None = None
        self._waiting: list[Event] = []  # for room in the store
        self._leaving: UnavailableError | None = None
        self._writing = threading.RLock()
        self._changed = threading.Condition()  # held for a moment, and never for the disk

    def add(self, event: Event) -> None:
        """Store the next event and wake the watchers. Nothing follows a final event. Of an error
        it keeps no frames.

        Where the store has no room the event waits: for the next one, or for `flush`.
        """
        with self._writing:
            last = self._waiting[-1] if self._waiting else self._latest
            if last is not None and last.state.final:
                return
            if isinstance(event.error, WanTrtError):
                event = replace(event, error=without_frames(event.error))
            number = last.sequence + 1 if last is not None else 1
            elapsed_s = self._before_s + event.elapsed_s
            self._waiting.append(replace(event, sequence=number, elapsed_s=elapsed_s))
            self.flush()

    def flush(self) -> None:
        """Store what waits, as far as there is room."""
        with self._writing:
            while self._waiting:
                event = self._waiting[0]
                try:
                    self._store.add_event(event, self.nbytes(event))
                except StorageFullError as error:
                    _log.warning("job %s, event %d: %s", self.job_id, event.sequence, error)
                    return
                if event.state.final:
                    self._settle(event)
                del self._waiting[0]
                with self._changed:
                    self._latest = event
                    if event.state.final:
                        self._finished = time.time()
                    self._changed.notify_all()

    def _settle(self, event: Event) -> None:
        """The store has the end of the job: whatever goes wrong now, that is so."""
        try:
            self._on_final(self, event)
        except Exception:
            _log.exception("job %s is over, and what it had is not tidied", self.job_id)

    def fail(self, error: WanTrtError) -> None:
        """End the job where the engine cannot say so itself."""
        with self._writing:
            last = self._latest or Event(0, self.job_id, JobState.QUEUED)
            cancelled = isinstance(error, CancelledError)
            self.add(
                replace(
                    last,
                    state=JobState.CANCELLED if cancelled else JobState.FAILED,
                    stage="",
                    elapsed_s=last.elapsed_s - self._before_s,
                    eta_s=None,
                    error=error,
                )
            )

    def leave(self, error: UnavailableError) -> None:
        """Nothing more will be heard of an unfinished job: its watchers get `error`."""
        with self._changed:
            self._leaving = error
            self._changed.notify_all()

    def count_from_here(self) -> None:
        """What ran so far was not the engine, which counts its seconds from its own beginning."""
        with self._writing:
            self._before_s = self._latest.elapsed_s if self._latest else 0.0

    @property
    def latest(self) -> Event:
        """The newest event that is stored."""
        with self._changed:
            return self._latest or Event(0, self.job_id, JobState.QUEUED)

    @property
    def status(self) -> JobStatus:
        with self._changed:
            latest, finished = self.latest, self._finished
        asked = self.submission
        return JobStatus(
            self.job_id,
            latest.state,
            asked.output_format,
            self.nbytes(latest),
            latest,
            title=asked.title,
            labels=asked.labels,
            priority=asked.priority,
            bundle=self.bundle,
            submitted=self._submitted,
            finished=finished if latest.state.final else None,
            video=self.video,
        )

    def nbytes(self, event: Event) -> int:
        """Length of the result; 0 for one that is not there, or not there any more."""
        if event.state is not JobState.DONE:
            return 0
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def wake(self) -> None:
        """Make those who wait look whether they still want to."""
        with self._changed:
            self._changed.notify_all()

    def wait(self, until: Callable[[], bool], wanted: Callable[[], bool]) -> bool:
        """Sleep until something is so, or is not `wanted` any more; whether it still is. Every
        event, every segment and `wake` make it look. Raises UnavailableError when the server
        stops before."""
        with self._changed:
            while not until() and wanted():
                if self._leaving is not None:
                    raise without_frames(self._leaving)
                self._changed.wait()
            return wanted()

    def events(self, after: int) -> list[Event]:
        """Those that are stored, with a sequence number above `after`."""
        latest = self.latest
        if latest.sequence == after + 1:  # who keeps up needs nothing that lies on the disk
            return [latest]
        return self._store.events(self.job_id, after)

    def has_news(self, after: int) -> bool:
        """Whether there are such events, or none will come any more."""
        latest = self.latest
        return latest.sequence > after or latest.state.final

    def require_known(self, after: int) -> None:
        """Raises InputError for a number that no event has."""
        known = self.latest.sequence
        if not 0 <= after <= known:
            raise InputError(
                f"{after}",
                expected=f"the sequence number of an event seen, or 0; there are {known}",
                field="after_sequence",
            )

    def follow(self, after: int, wanted: Callable[[], bool]) -> Iterator[Event]:
        """Events with a sequence number above `after`, as they come, up to the final one. Ends
        early when `wanted` has become false. Raises as `require_known` and `wait`."""
        self.require_known(after)
        while self.wait(partial(self.has_news, after), wanted):
            events = self.events(after)
            for event in events:
                if not wanted():
                    return
                yield event
                after = event.sequence
            if not events or events[-1].state.final:
                return

    def add_segment(self, row: SegmentRow) -> None:
        """The frames of a segment are in the spool, and the store knows it."""
        with self._changed:
            self._segments.append(row)
            self._changed.notify_all()

    @property
    def segments(self) -> list[SegmentRow]:
        """Segments whose frames are in the spool, or were when the job was over."""
        with self._changed:
            return list(self._segments)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """In here the frames in the spool stay, also when the job is over."""
        with self._writing, self._changed:  # not while the job ends: its frames are on their way
            self._readers += 1
        try:
            yield
        finally:
            with self._changed:
                self._readers -= 1
                left = None if self._readers else self._left
                if left is not None:
                    self._left, self._segments = None, []
            if left is not None:
                left()

    def when_read(self, action: Callable[[], None]) -> None:
        """Do something when nobody reads frames: now, or when the last one leaves."""
        with self._changed:
            if self._readers:
                self._left = action
                return
            self._segments = []
        action()

    def require_no_failure(self) -> None:
        """Raises the error that the job ended with, if it did."""
        latest = self.latest
        if latest.state.final and isinstance(latest.error, WanTrtError):
            raise without_frames(latest.error)

    def result(self) -> Path:
        """The finished file. Raises NotReadyError while there is none, or when none will be."""
        latest = self.latest
        match latest.state:
            case JobState.DONE:
                return self.path
            case JobState.FAILED | JobState.CANCELLED:
                raise NotReadyError(
                    f"job {self.job_id} has no result: it ended as {latest.state.value}"
                    + (f" ({latest.error})" if latest.state is JobState.FAILED else ""),
                    expected="a job that is done",
                    action="submit it again",
                )
            case _:
                raise NotReadyError(
                    f"job {self.job_id} is {latest.state.value}, segment {latest.segment + 1} of "
                    f"{latest.segments}, step {latest.step} of {latest.steps}",
                    expected="a job that is done",
                    action="watch it until then",
                )
