"""The jobs that are live, each in one place: queued, out or held; and what is left of them all."""

from __future__ import annotations

from collections.abc import Iterator

from wan_trt.engine.scheduling.decision import Decision
from wan_trt.engine.scheduling.experts import Experts
from wan_trt.engine.scheduling.live_job import (
    LiveJob,
    Passes,
    UnitOut,
    add_passes,
    take_passes,
)
from wan_trt.engine.scheduling.preference import Ordered


class LiveJobs:
    """A job is queued while its next unit may be handed out: then the policy's queue has it
    (`preference`), and so has its expert's group. `out` are those whose unit was handed out, `held`
    those without turns.

    `left` and `loads` are the work of all without what is out, `state_nbytes` what their states
    take, and `at_seam` how many of those that are queued wait between two lanes.
    """

    def __init__(self, preference: Ordered, experts: Experts) -> None:
        self.preference = preference
        self._experts = experts
        self._all: dict[str, LiveJob] = {}
        self.out: dict[str, LiveJob] = {}
        self.held: dict[str, LiveJob] = {}
        self.left: Passes = {}
        self.loads = 0
        self.state_nbytes = 0
        self.at_seam = 0

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[LiveJob]:
        return iter(self._all.values())

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._all

    def __getitem__(self, job_id: str) -> LiveJob:
        return self._all[job_id]

    def add(self, job: LiveJob) -> None:
        """A new job; it is queued."""
        self._all[job.job_id] = job
        self.state_nbytes += job.submission.state_nbytes
        self.loads += job.loads
        add_passes(self.left, job.left)
        self.preference.arrive(job)
        self.enqueue(job)

    def forget(self, job: LiveJob) -> None:
        """It is over, wherever it is."""
        if job.queued:
            self.dequeue(job)
        self.out.pop(job.job_id, None)
        self.held.pop(job.job_id, None)
        del self._all[job.job_id]
        self.state_nbytes -= job.submission.state_nbytes
        self.loads -= job.loads
        take_passes(self.left, job.left)

    def enqueue(self, job: LiveJob) -> None:
        self.preference.add(job)
        self._experts.add(job)
        self.at_seam += job.at_seam

    def dequeue(self, job: LiveJob) -> None:
        """Also while what it is sorted by is changed."""
        self.preference.remove(job)
        self._experts.remove(job)
        self.at_seam -= job.at_seam

    def hand_out(self, job: LiveJob, now: float, ends_s: float) -> None:
        """The next unit of a job that is not queued any more."""
        self.preference.serve(job)
        self.loads -= job.loads
        take_passes(self.left, {job.cost: job.run.passes})
        job.hand_out(now, ends_s)
        self.loads += job.loads
        self.out[job.job_id] = job

    def take_in(self, decision: Decision) -> tuple[LiveJob, UnitOut]:
        """A unit is out no more, and its job is nowhere yet. Raises ValueError for one that is not
        out."""
        job = self.out.get(decision.job_id)
        if job is None or job.out is None or job.out.index != decision.index:
            raise ValueError(f"unit {decision.index} of job {decision.job_id} is not out")
        unit, job.out = job.out, None
        del self.out[job.job_id]
        return job, unit

    def take_back(self, job: LiveJob, unit: UnitOut) -> None:
        """It was not done, and counts as left again."""
        self.loads -= job.loads
        add_passes(self.left, {unit.cost: unit.passes})
        job.take_back()
        self.loads += job.loads

    def hold(self, job: LiveJob) -> None:
        """No turns until `release`."""
        self.dequeue(job)
        self.held[job.job_id] = job

    def release(self, job: LiveJob) -> None:
        del self.held[job.job_id]
        self.enqueue(job)

    def free_s(self, now: float) -> float:
        """When the units that are out will have ended: then every lane is free."""
        for job in self.out.values():
            if job.out and job.out.ends_s > now:
                now = job.out.ends_s
        return now

    def check(self) -> None:
        """Raises AssertionError unless every job is in exactly one place."""
        assert self.out.keys() <= self._all.keys(), "a unit of no live job is out"
        assert self.held.keys() <= self._all.keys(), "a job is held that is not live"
        for job_id, job in self._all.items():
            assert (job.out is not None) == (job_id in self.out), f"{job_id} is out, or is it"
            assert (job.held is not None) == (job_id in self.held), f"{job_id} is held, or is it"
            places = (job_id in self.out) + (job_id in self.held) + job.queued
            assert places == 1, f"{job_id} is in {places} places"
        assert self.at_seam == sum(job.at_seam for job in self if job.queued)
