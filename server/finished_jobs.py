"""Jobs that are over: whose they are, and which of them are still wanted."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import replace

from wan_trt.engine.errors import StorageFullError
from wan_trt.server.retention import FinishedJob, Retention, jobs_to_forget
from wan_trt.server.store.store import Store


class FinishedJobs:
    """Safe to use from any thread."""

    def __init__(self, store: Store, retention: Retention) -> None:
        self._store = store
        self._retention = retention
        self._jobs: dict[str, FinishedJob] = {}
        self._owners: dict[str, str] = {}
        self._lock = threading.Lock()

    def add(self, job: FinishedJob, owner: str) -> None:
        with self._lock:
            self._jobs[job.job_id] = job
            self._owners[job.job_id] = owner

    def __contains__(self, job_id: object) -> bool:
        with self._lock:
            return job_id in self._jobs

    def mark_fetched(self, job_id: str) -> None:
        """Who wanted the result has it."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is None or not job.wanted:
                return
            with contextlib.suppress(StorageFullError):
                self._store.mark_fetched(job_id)
                self._jobs[job_id] = replace(job, wanted=False)

    def nbytes(self, owner: str) -> int:
        """Of an owner's results."""
        with self._lock:
            return sum(
                job.nbytes for job in self._jobs.values() if self._owners[job.job_id] == owner
            )

    def take_old(self) -> list[str]:
        """Those that are to be forgotten; the store has forgotten them already."""
        taken = []
        with self._lock:
            jobs = list(self._jobs.values())
            for job in jobs_to_forget(jobs, self._retention, time.time()):
                try:
                    self._store.remove(job.job_id)
                except StorageFullError:
                    break  # not now
                del self._jobs[job.job_id], self._owners[job.job_id]
                taken.append(job.job_id)
        return taken
