"""Which jobs have their tensors in memory: where pages are short, some are put aside for a while.

A job that is overtaken keeps its tensors where it can. When another one needs the pages, or an
engine that is loaded needs their memory, the job that ran longest ago is parked
(memory/parking.py), and brought back before its next unit. A job whose unit runs is never parked.
Where only such jobs are left, and there are two, the unit that wants memory ends with a
CrowdedError, and is done again when it is alone (engine/crowding.py).
"""

from __future__ import annotations

from wan_trt.engine.backend import Backend
from wan_trt.engine.crowding import CrowdedError
from wan_trt.engine.errors import ResourceError
from wan_trt.engine.job import Job
from wan_trt.engine.space import Space


class Residence:
    """For the threads that step the engine."""

    def __init__(self, backend: Backend) -> None:
        """From now on `backend.memory` parks jobs where it has no pages."""
        self._backend = backend
        self._lock = backend.memory.lock
        self._jobs: dict[str, Job] = {}  # that have tensors or may soon; the last ran last
        self._running: set[str] = set()
        backend.memory.make_room = self._make_room

    def enter(self, job: Job, space: Space) -> None:
        """A unit of the job begins: its tensors are in memory, for the work of `space`. Raises
        ResourceError where there is no room for them, though all other jobs are parked, and
        CrowdedError where the unit that runs beside has it. `leave` is called in either case."""
        with self._lock:
            self._jobs.pop(job.job_id, None)
            self._jobs[job.job_id] = job
            self._running.add(job.job_id)
            if job.tensors is None:
                return
            if job.tensors.holding.parked:
                holding = job.tensors.holding
                self._backend.memory.with_room(lambda: holding.bring_back(space))
            job.tensors.holding.begin_use(space)

    def leave(self, job: Job) -> None:
        """The unit is over, or could not begin."""
        with self._lock:
            self._running.discard(job.job_id)
            if job.tensors is not None and job.tensors.holding.in_use:
                job.tensors.holding.end_use()

    def forget(self, job: Job) -> None:
        """The job has no tensors any more."""
        with self._lock:
            self._running.discard(job.job_id)
            self._jobs.pop(job.job_id, None)

    def _make_room(self) -> bool:
        """Park the job that ran longest ago, but none that runs; whether there was one."""
        for job in self._jobs.values():
            tensors = job.tensors  # a job that ends beside lets go of them
            idle = job.job_id not in self._running
            if idle and tensors is not None and tensors.holding.resident:
                try:
                    tensors.holding.park(self._backend.parking)
                except ResourceError:  # no room there either
                    break
                return True
        if len(self._running) > 1:
            raise CrowdedError
        return False
