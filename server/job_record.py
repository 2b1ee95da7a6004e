"""What the server knows of one job: its events, its result, and who waits for news."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from wan_trt.engine.errors import InputError, WanTrtError
from wan_trt.engine.request import Event, JobState
from wan_trt.server.errors import NotReadyError
from wan_trt.server.submission import JobStatus, OutputFormat


class JobRecord:
    """Written by the thread that steps the engine, read by any number of watchers.

    Events are kept whole, so that a watcher can come late or come back.
    """

    def __init__(
        self, job_id: str, output_format: OutputFormat, path: Path, idempotency_key: str = ""
    ) -> None:
        """`path` is where the job's result will appear."""
        self.job_id = job_id
        self.idempotency_key = idempotency_key
        self.output_format = output_format
        self.path = path
        self._events: list[Event] = []
        self._changed = threading.Condition()

    def add(self, event: Event) -> None:
        """Append the next event and wake the watchers. Nothing follows a final event."""
        with self._changed:
            if not (self._events and self._events[-1].state.final):
                self._events.append(event)
                self._changed.notify_all()

    def fail(self, error: WanTrtError) -> None:
        """End the job where the engine cannot say so itself any more."""
        with self._changed:
            last = self._events[-1]
            self.add(
                replace(
                    last,
                    sequence=last.sequence + 1,
                    state=JobState.FAILED,
                    stage="",
                    eta_s=None,
                    error=error,
                )
            )

    @property
    def latest(self) -> Event:
        with self._changed:
            return self._events[-1]

    @property
    def status(self) -> JobStatus:
        latest = self.latest
        nbytes = self.path.stat().st_size if latest.state is JobState.DONE else 0
        return JobStatus(self.job_id, latest.state, self.output_format, nbytes, latest)

    def wake(self) -> None:
        """Make the watchers look whether they are still wanted."""
        with self._changed:
            self._changed.notify_all()

    def follow(self, after: int, wanted: Callable[[], bool]) -> Iterator[Event]:
        """Events with a sequence number above `after`, as they come, up to the final one.

        Ends early when `wanted` has become false; `wake` makes it look. Raises InputError for a
        number that no event has.
        """
        with self._changed:
            known = len(self._events)
        if not 0 <= after <= known:
            raise InputError(
                f"{after}",
                expected=f"the sequence number of an event seen, or 0; there are {known}",
                field="after_sequence",
            )
        while True:
            with self._changed:
                while not self._news(after) and wanted():
                    self._changed.wait()
                events = self._events[after:]
            for event in events:
                if not wanted():
                    return
                yield event
            after += len(events)
            if not wanted() or not events or events[-1].state.final:
                return

    def _news(self, after: int) -> bool:
        return len(self._events) > after or self._events[-1].state.final

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
