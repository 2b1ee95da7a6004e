"""The jobs of one engine that live, and what is known of those that do not: for any thread."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from wan_trt.engine.errors import InputError, NotFoundError, ResourceError
from wan_trt.engine.job import Job, JobSummary

REMEMBERED_JOBS = 1000


@dataclass(frozen=True)
class Moment:
    """So many changes had been seen, at this time of the monotonic clock."""

    changes: int
    at_s: float


class JobRegistry:
    """Live jobs in the order of their arrival, and the last 1000 that are over."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._finished: OrderedDict[str, JobSummary] = OrderedDict()
        self._changed = threading.Condition()
        self._changes = 0
        self._closed = False

    def add(self, job: Job, enter: Callable[[Job], None]) -> None:
        """`enter` lets the job in where it waits for its turns; what it raises goes to the caller.
        Raises InputError for an id that is taken, ResourceError once the registry is closed."""
        with self._changed:
            if self._closed:
                raise ResourceError("the engine is closed", action="start another")
            if job.job_id in self._jobs or job.job_id in self._finished:
                raise InputError(f"{job.job_id} is taken", expected="a new id", field="job_id")
            enter(job)
            self._jobs[job.job_id] = job
            self._notify()

    def find(self, job_id: str) -> Job | None:
        """The job, while it lives."""
        with self._changed:
            return self._jobs.get(job_id)

    def live_job(self, job_id: str) -> Job:
        """Raises NotFoundError for one that is over, or was never here."""
        job = self.find(job_id)
        if job is None:
            raise _unknown(job_id)
        return job

    def live(self) -> list[Job]:
        with self._changed:
            return list(self._jobs.values())

    def cancel(self, job_id: str) -> None:
        """Ask a live job to end. Raises NotFoundError for one that was never here."""
        with self._changed:
            if job_id in self._jobs:
                self._jobs[job_id].cancel_requested = True
                self._notify()
            elif job_id not in self._finished:
                raise _unknown(job_id)

    def summary(self, job_id: str) -> JobSummary:
        """Raises NotFoundError."""
        with self._changed:
            if job_id in self._jobs:
                return self._jobs[job_id].summary()
            if job_id in self._finished:
                return self._finished[job_id]
        raise _unknown(job_id)

    def now(self) -> Moment:
        """To be told apart from a later one by `wait`."""
        with self._changed:
            return Moment(self._changes, time.monotonic())

    def wait(self, timeout_s: float | None, idle: Moment | None = None) -> bool:
        """Sleep until a job is due, the time is over, or it is closed; True if a job is due. At
        `idle` there was nothing to do: what was due by then is so again when something changes."""
        end = math.inf if timeout_s is None else time.monotonic() + timeout_s
        with self._changed:
            while not self._closed:
                now, due = time.monotonic(), self._due_at(idle)
                if due <= now or end <= now:
                    break
                until = min(due, end)
                self._changed.wait(None if until == math.inf else until - now)
            return self._due_at(idle) <= time.monotonic()

    def _due_at(self, idle: Moment | None) -> float:
        seen_s = idle.at_s if idle is not None and idle.changes == self._changes else -math.inf
        due = (job.due_at for job in self._jobs.values())
        return min((at for at in due if at > seen_s), default=math.inf)

    def close(self, suspend: bool) -> None:
        """Take no more jobs, and ask all to end; with `suspend` those that keep checkpoints are
        left to another engine."""
        with self._changed:
            self._closed = True
            for job in self._jobs.values():
                if suspend and job.keep is not None:
                    job.suspend_requested = True
                else:
                    job.cancel_requested = True
            self._notify()

    def notify(self) -> None:
        """A unit is over: what could not go on before may do so."""
        with self._changed:
            self._notify()

    def _notify(self) -> None:
        self._changes += 1
        self._changed.notify_all()

    def finish(self, job: Job) -> None:
        """The job is over; its summary stays for a while."""
        with self._changed:
            self._jobs.pop(job.job_id, None)
            self._finished[job.job_id] = job.summary()
            while len(self._finished) > REMEMBERED_JOBS:
                self._finished.popitem(last=False)
            self._notify()

    def drop(self, job: Job) -> None:
        """The job is another engine's."""
        with self._changed:
            self._jobs.pop(job.job_id, None)
            self._notify()


def _unknown(job_id: str) -> NotFoundError:
    return NotFoundError(f"no job {job_id!r}", action="check the id; old jobs are forgotten")
