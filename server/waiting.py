"""Jobs of earlier processes whose bundle is broken: they wait until it is repaired."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from wan_trt.engine.errors import DeadlineError
from wan_trt.server.job_record import JobRecord
from wan_trt.server.store.store import StoredJob


@dataclass(frozen=True, eq=False)
class WaitingJob:
    """`stored.bundle` is the digest of the bundle that it needs."""

    stored: StoredJob
    record: JobRecord


class WaitingJobs:
    """In the order of their arrival; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[str, WaitingJob] = {}

    def add(self, job: WaitingJob) -> None:
        with self._lock:
            self._jobs[job.record.job_id] = job

    def take(self, digest: str) -> list[WaitingJob]:
        """Those of a bundle: from now on they do not wait here."""
        with self._lock:
            found = [job for job in self._jobs.values() if job.stored.bundle == digest]
            for job in found:
                del self._jobs[job.record.job_id]
        return found

    def take_one(self, job_id: str) -> bool:
        """Whether the job waits here; from now on it does not."""
        with self._lock:
            return self._jobs.pop(job_id, None) is not None

    def end_overdue(self) -> None:
        """Fail those that are out of time."""
        now = time.time()
        with self._lock:
            over = [
                job
                for job in self._jobs.values()
                if job.stored.deadline is not None and job.stored.deadline <= now
            ]
            for job in over:
                del self._jobs[job.record.job_id]
        for job in over:
            job.record.fail(
                DeadlineError(
                    f"job {job.record.job_id} waited for its bundle until its time was over",
                    action="ask the operator for the bundle, then submit it again",
                    field="timeout_s",
                )
            )
