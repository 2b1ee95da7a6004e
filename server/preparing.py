"""Driving videos are prepared here, one after the other, before their jobs are the engine's.

Networks look at the whole video, which takes minutes of a long one: neither Submit nor the engine
waits for that. A job that is prepared when the process dies is prepared again by the next one, the
same way.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from wan_trt.engine.errors import (
    CancelledError,
    DeadlineError,
    ExecutionError,
    NotFoundError,
    StorageFullError,
    WanTrtError,
)
from wan_trt.engine.request import Event, JobState
from wan_trt.preprocess.progress import Progress
from wan_trt.server.driven import DrivenSubmission
from wan_trt.server.job_record import JobRecord
from wan_trt.server.opened import OpenedSubmission
from wan_trt.server.store.store import Store, StoredJob

_log = logging.getLogger(__name__)
_TELL_EVERY_S = 0.5

OnEvent = Callable[[JobRecord, Event], None]
HandOver = Callable[[StoredJob, JobRecord, OpenedSubmission], None]


@dataclass(eq=False)
class DrivenJob:
    """`cancelled`: it is to end; the thread that prepares sees to it."""

    stored: StoredJob
    record: JobRecord
    driven: DrivenSubmission
    cancelled: bool = False


class _StoppedError(Exception):
    """The process ends; the job is the next one's."""


class Preparing:
    """A thread and its queue. Events go to `on_event`; whoever is prepared goes to `hand_over`, and
    if it was cancelled meanwhile to `cancel`."""

    def __init__(
        self,
        store: Store,
        on_event: OnEvent,
        hand_over: HandOver,
        cancel: Callable[[str], None],
    ) -> None:
        self._store = store
        self._on_event = on_event
        self._hand_over = hand_over
        self._cancel = cancel
        self._jobs: OrderedDict[str, DrivenJob] = OrderedDict()  # the first one is at work
        self._changed = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def add(self, job: DrivenJob) -> None:
        """From now on `driven` is closed here."""
        with self._changed:  # nobody cancels it before it is here
            self._on_event(job.record, Event(0, job.record.job_id, JobState.QUEUED))
            self._jobs[job.record.job_id] = job
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="preparing")
                self._thread.start()
            self._changed.notify_all()

    def cancel(self, job_id: str) -> bool:
        """End a job within a few frames; False where it is not here."""
        with self._changed:
            job = self._jobs.get(job_id)
            if job is None:
                return False
            job.cancelled = True
        self.end_waiting()
        return True

    def end_waiting(self) -> None:
        """End those that wait here, and are cancelled or out of time."""
        with self._changed:
            waiting = list(self._jobs.values())[1:]
            over = [(job, error) for job in waiting if (error := _fault(job))]
            for job, _ in over:
                del self._jobs[job.record.job_id]
        for job, error in over:
            job.driven.close()
            self._end(job, error)

    def stop(self, suspend: bool) -> None:
        """End the thread within a few frames. With `suspend` the jobs are left to the next process,
        else cancelled."""
        with self._changed:
            self._stopping = True
            if not suspend:
                for job in self._jobs.values():
                    job.cancelled = True
            self._changed.notify_all()
        self.end_waiting()
        if self._thread is not None:
            self._thread.join()
        for job in self._jobs.values():
            job.driven.close()

    def _run(self) -> None:
        while self._prepare_next():
            pass

    def _prepare_next(self) -> bool:
        """Wait for a job, and prepare it; False when there are no more. A call of its own, so that
        the thread holds nothing of a job while it waits for the next."""
        if (job := self._next()) is None:
            return False
        try:
            self._prepare(job)
        except Exception:  # the job store failed: those that wait behind it are no worse for it
            _log.exception("job %s: how its preparation ended", job.record.job_id)
        with self._changed:
            del self._jobs[job.record.job_id]
            cancelled = job.cancelled
        if cancelled and not job.record.latest.state.final:
            with suppress(NotFoundError):  # it has ended here: its last event waits for room
                self._cancel(job.record.job_id)
        return True

    def _next(self) -> DrivenJob | None:
        with self._changed:
            while not self._jobs and not self._stopping:
                self._changed.wait()
            job = next(iter(self._jobs.values()), None)
            return None if self._stopping and not (job and job.cancelled) else job

    def _prepare(self, job: DrivenJob) -> None:
        telling = _Telling(job, self._store, self._on_event)

        def look(progress: Progress) -> None:
            self._require_wanted(job)
            self.end_waiting()
            telling.tell(progress)

        try:
            self._require_wanted(job)
            _begin_work(self._store, job.record.job_id)
            try:
                opened = job.driven.prepare(look)
            finally:
                self._store.end_work(job.record.job_id)
            try:
                self._require_wanted(job)
                job.record.count_from_here()
                self._hand_over(job.stored, job.record, opened)
            except BaseException:
                opened.close()
                raise
        except _StoppedError:
            job.driven.close()
        except WanTrtError as error:
            job.driven.close()
            self._end(job, error)
        except Exception as error:
            _log.exception("job %s cannot be prepared", job.record.job_id)
            job.driven.close()
            self._end(
                job,
                ExecutionError(
                    f"the driving video cannot be prepared ({type(error).__name__}: {error})",
                    action="report it as a bug",
                ),
            )

    def _require_wanted(self, job: DrivenJob) -> None:
        if error := _fault(job):
            raise error
        if self._stopping:
            raise _StoppedError

    def _end(self, job: DrivenJob, error: WanTrtError) -> None:
        cancelled = isinstance(error, CancelledError)
        state = JobState.CANCELLED if cancelled else JobState.FAILED
        self._on_event(job.record, Event(0, job.record.job_id, state, error=error))


class _Telling:
    """How far it is becomes events, not too many of them."""

    def __init__(self, job: DrivenJob, store: Store, on_event: OnEvent) -> None:
        self._record = job.record
        self._store = store
        self._on_event = on_event
        self._began = self._told = time.monotonic()
        self._stage = ""

    def tell(self, progress: Progress) -> None:
        now = time.monotonic()
        changed = progress.stage != self._stage or progress.done == progress.total
        if not changed and now - self._told < _TELL_EVERY_S:
            return
        self._stage, self._told = progress.stage, now
        event = Event(
            0,
            self._record.job_id,
            JobState.RUNNING,
            stage=progress.stage,
            step=progress.done,
            steps=progress.total,
            elapsed_s=now - self._began,
        )
        self._on_event(self._record, event)
        _begin_work(self._store, self._record.job_id)  # an event says that no work goes on


def _begin_work(store: Store, job_id: str) -> None:
    """Without room for it the job is not blamed if the process dies now."""
    with suppress(StorageFullError):
        store.begin_work(job_id)


def _fault(job: DrivenJob) -> WanTrtError | None:
    """Why the job is to end."""
    if job.cancelled:
        return CancelledError(f"job {job.record.job_id} was cancelled")
    if job.stored.deadline is not None and time.time() >= job.stored.deadline:
        return DeadlineError(
            f"job {job.record.job_id} is not done in the time that it was given",
            action="give it more, or use a machine that is faster or less busy",
            field="timeout_s",
        )
    return None
