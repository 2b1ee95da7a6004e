"""Which jobs have their tensors in memory: where pages are short, some are put aside for a while.

A job that is overtaken keeps its tensors where it can. When another one needs the pages, the job
that ran longest ago is parked (memory/parking.py), and brought back before its next unit.
"""

from __future__ import annotations

from wan_trt.engine.backend import Backend
from wan_trt.engine.errors import ResourceError
from wan_trt.engine.job import Job


class Residence:
    """For the thread that steps the engine."""

    def __init__(self, backend: Backend) -> None:
        """From now on `backend.memory` parks jobs where it has no pages."""
        self._backend = backend
        self._jobs: dict[str, Job] = {}  # that have tensors or may soon; the last ran last
        backend.memory.make_room = self._make_room

    def enter(self, job: Job) -> None:
        """A unit of the job begins: its tensors are in memory. Raises ResourceError where there is
        no room for them, though all other jobs are parked."""
        self._jobs.pop(job.job_id, None)
        self._jobs[job.job_id] = job
        if job.tensors is None or not job.tensors.holding.parked:
            return
        while True:
            try:
                job.tensors.holding.bring_back()
            except ResourceError:
                if not self._make_room():
                    raise
            else:
                return

    def leave(self, job: Job) -> None:
        """The job has no tensors any more."""
        self._jobs.pop(job.job_id, None)

    def _make_room(self) -> bool:
        """Park the job that ran longest ago, but never the one that runs; whether there was one."""
        for job in list(self._jobs.values())[:-1]:
            if job.tensors is not None and not job.tensors.holding.parked:
                try:
                    job.tensors.holding.park(self._backend.parking)
                except ResourceError:  # no room there either
                    return False
                return True
        return False
