"""What the server knows of one job: its events, its result, and who waits for news."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from wan_trt.engine.errors import CancelledError, InputError, StorageFullError, WanTrtError
from wan_trt.engine.request import Event, JobState
from wan_trt.server.errors import NotReadyError, UnavailableError
from wan_trt.server.store.store import Store
from wan_trt.server.submission import JobStatus, OutputFormat

_log = logging.getLogger(__name__)


class JobRecord:
    """Written by the thread that steps the engine, read by any number of watchers.

    Its events lie in the job store, and count when they are there: a watcher can come late or
    come back, also to the next process. They are numbered here: a job that is taken up again goes
    on counting.
    """

    def __init__(
        self,
        job_id: str,
        output_format: OutputFormat,
        path: Path,
        store: Store,
        on_final: Callable[[JobRecord, Event], None],
        idempotency_key: str = "",
        owner: str = "",
    ) -> None:
        """`path` is where the job's result will appear. What the store has of the job is known.
        `on_final` is called when the store has the final event, and before anybody else learns
        of it."""
        self.job_id = job_id
        self.idempotency_key = idempotency_key
        self.owner = owner
        self.output_format = output_format
        self.path = path
        self._store = store
        self._on_final = on_final
        self._latest = store.latest(job_id)
        self._before_s = self._latest.elapsed_s if self._latest else 0.0
        self._waiting: list[Event] = []  # for room in the store
        self._leaving: UnavailableError | None = None
        self._changed = threading.Condition()

    def add(self, event: Event) -> None:
        """Store the next event and wake the watchers. Nothing follows a final event.

        Where the store has no room the event waits: for the next one, or for `flush`.
        """
        with self._changed:
            last = self._waiting[-1] if self._waiting else self._latest
            if last is not None and last.state.final:
                return
            number = last.sequence + 1 if last is not None else 1
            elapsed_s = self._before_s + event.elapsed_s
            self._waiting.append(replace(event, sequence=number, elapsed_s=elapsed_s))
            self.flush()

    def flush(self) -> None:
        """Store what waits, as far as there is room."""
        with self._changed:
            while self._waiting:
                event = self._waiting[0]
                try:
                    self._store.add_event(event, self.nbytes(event))
                except StorageFullError as error:
                    _log.warning("job %s, event %d: %s", self.job_id, event.sequence, error)
                    return
                if event.state.final:
                    self._on_final(self, event)
                self._latest = self._waiting.pop(0)
                self._changed.notify_all()

    def fail(self, error: WanTrtError) -> None:
        """End the job where the engine cannot say so itself."""
        with self._changed:
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

    @property
    def latest(self) -> Event:
        """The newest event that is stored."""
        with self._changed:
            return self._latest or Event(0, self.job_id, JobState.QUEUED)

    @property
    def status(self) -> JobStatus:
        latest = self.latest
        return JobStatus(self.job_id, latest.state, self.output_format, self.nbytes(latest), latest)

    def nbytes(self, event: Event) -> int:
        """Length of the result; 0 for one that is not there, or not there any more."""
        if event.state is not JobState.DONE:
            return 0
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def wake(self) -> None:
        """Make the watchers look whether they are still wanted."""
        with self._changed:
            self._changed.notify_all()

    def follow(self, after: int, wanted: Callable[[], bool]) -> Iterator[Event]:
        """Events with a sequence number above `after`, as they come, up to the final one.

        Ends early when `wanted` has become false; `wake` makes it look. Raises InputError for a
        number that no event has, UnavailableError when the server stops before the job ends.
        """
        known = self.latest.sequence
        if not 0 <= after <= known:
            raise InputError(
                f"{after}",
                expected=f"the sequence number of an event seen, or 0; there are {known}",
                field="after_sequence",
            )
        while True:
            with self._changed:
                while not self._news(after) and wanted():
                    if self._leaving is not None:
                        raise self._leaving
                    self._changed.wait()
            events = self._store.events(self.job_id, after)
            for event in events:
                if not wanted():
                    return
                yield event
                after = event.sequence
            if not wanted() or not events or events[-1].state.final:
                return

    def _news(self, after: int) -> bool:
        latest = self.latest
        return latest.sequence > after or latest.state.final

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
