"""What live jobs are promised: made, given up, and kept up as costs change and time passes."""

from __future__ import annotations

from wan_trt.engine.scheduling.admission import Reason, Refusal
from wan_trt.engine.scheduling.costs import TOLERANCE, CostTable
from wan_trt.engine.scheduling.live_job import Held, Hope, LiveJob
from wan_trt.engine.scheduling.live_jobs import LiveJobs
from wan_trt.engine.scheduling.pace import Pace
from wan_trt.engine.scheduling.preference import Policy
from wan_trt.engine.scheduling.timetable import Timetable

SOFT = 10.0
"""A job without a deadline is hoped to be done within so many times its own work."""


class Promises:
    """Every job is promised its bound; and its deadline, or a soft one, as long as there is hope.
    Bounds slip where units take longer than expected, as first come, first served would have: by
    `_slip_s` so far, of which those in the timetable have `_slip_sorted_s`."""

    def __init__(
        self,
        jobs: LiveJobs,
        timetable: Timetable,
        costs: CostTable,
        policy: Policy,
        pace: Pace | None,
        bound: float,
        load_s: float,
    ) -> None:
        """With a `pace` deadlines are admitted, with its margin: promised or refused; without,
        they are hopes, and of the policy DEADLINE alone. A load takes `load_s`, 0 where there is
        none."""
        if bound < 1:
            raise ValueError(f"a bound of at least first come, first served, 1, not {bound}")
        self.bound = bound
        self._jobs = jobs
        self._timetable = timetable
        self._costs = costs
        self._policy = policy
        self._pace = pace
        self._load_s = load_s
        self._hopes = 0
        self._priced = costs.version
        self._ends_s = 0.0  # when what was handed out last should have ended
        self._slip_s = self._slip_sorted_s = 0.0

    def make(self, job: LiveJob, now: float) -> Refusal | None:
        """Promise a new job what can be kept; a refusal where that is admission's to say."""
        job.slipped_s = self._slip_sorted_s - self._slip_s  # what slipped before is not its own
        loads_s = self._jobs.loads * self._load_s
        job.bind(self.bound, self._jobs.left, self._jobs.free_s(now) - now + loads_s)
        deadline_s = job.submission.deadline_s
        if deadline_s is None:
            soft_s = now + SOFT * job.work_s / job.submission.priority
            if self._policy is Policy.DEADLINE and self._earliest_s(job, now) <= soft_s:
                job.give_hope(Hope.SOFT, soft_s)
        elif self._pace is not None:
            margin = self._pace.margin
            possible_s = now + margin * (self._earliest_s(job, now) - now)
            if possible_s > deadline_s:
                return Refusal(job.job_id, Reason.DEADLINE, possible_s)
            due_s = now + (deadline_s - now) / margin
            job.give_hope(Hope.HARD, due_s, reserve_s=deadline_s - due_s)
        elif self._policy is Policy.DEADLINE and self._end_s(job, now) <= deadline_s:
            job.give_hope(Hope.HARD, deadline_s)
        return None

    def add(self, job: LiveJob) -> None:
        """A new job is let in."""
        self._timetable.add(job.promise)
        self._hopes += job.hope is not Hope.NONE

    def forget(self, job: LiveJob) -> None:
        """It is over."""
        self._hopes -= job.hope is not Hope.NONE
        self._timetable.remove(job.promise)

    def handed_out(self, job: LiveJob) -> None:
        """Its next unit is out."""
        assert job.out is not None
        self._ends_s = max(self._ends_s, job.out.ends_s)
        self._timetable.work_left(job.promise, job.work_s)

    def given_back(self, job: LiveJob, began_s: float, now: float) -> None:
        """What its unit took was longer than expected for everybody: it was in vain."""
        self._slip_s += now - began_s
        self._ends_s = self._jobs.free_s(now)
        self._timetable.work_left(job.promise, job.work_s)

    def hold(self, job: LiveJob, now: float) -> None:
        """Its promise need not be kept until `go_on`; what was promised to others stands."""
        job.held = Held(self._jobs.free_s(now), self._slip_s)
        self._timetable.hold(job.promise, True)

    def go_on(self, job: LiveJob, now: float) -> None:
        """Promises slip by the time that went to others while the job was held, a unit that began
        then to its end, instead of what slipped for all meanwhile. As it was kept room for, they
        then fit; but for a deadline, which does not slip."""
        held, job.held = job.held, None
        assert held is not None, f"{job.job_id} is not held"
        held_s = max(0.0, self._jobs.free_s(now) - held.free_s)
        job.held_s += held_s
        job.slipped_s -= self._slip_s - held.slip_s
        self._timetable.remove(job.promise)
        if job.hope is Hope.SOFT:
            job.hoped_s += held_s
        elif job.hope is Hope.HARD:
            earliest_s = self._timetable.earliest_s(self._jobs.free_s(now), job.work_s)
            if earliest_s > job.hoped_s + job.promise.reserve_s:
                self._lose_hope(job)
        job.promise.due_s = job.due_s
        job.promise.held = False
        self._timetable.add(job.promise)

    def give_up(self, now: float) -> None:
        """Take hope from as few jobs as need be for the other promises to be kept: soft ones first,
        then the largest whose loss suffices."""
        if not self._hopes:
            return
        free_s = self._jobs.free_s(now)
        while self._hopes:
            violation = self._timetable.violation(free_s, self._load_s)
            if violation is None:
                return
            hopeful = []
            for promise in self._timetable:
                job = self._jobs[promise.job_id]
                if job.hope is not Hope.NONE:
                    hopeful.append(job)
                if promise is violation.promise:
                    break
            if not hopeful:
                return  # bounds alone, and costs were underestimated
            soft = [job for job in hopeful if job.hope is Hope.SOFT]
            enough = [job for job in hopeful if job.promise.work_s >= violation.late_s]
            self._give_up(max(soft or enough or hopeful, key=lambda job: job.weighted_s))

    def keep_up(self, now: float) -> None:
        """Sort everything anew where costs were published, or where units took so much longer than
        expected that it shows."""
        if len(self._jobs) == len(self._jobs.held):  # nobody could have had a turn
            self._ends_s = now
        elif now > self._ends_s:
            self._slip_s += now - self._ends_s
            self._ends_s = now
        slip_s = self._slip_s - self._slip_sorted_s
        if self._priced == self._costs.version and slip_s <= TOLERANCE * self._timetable.work_s:
            return
        self._priced, self._slip_sorted_s = self._costs.version, self._slip_s
        queued = [job for job in self._jobs if job.queued]
        for job in queued:
            self._jobs.dequeue(job)
        for job in self._jobs:
            job.slipped_s += slip_s
            job.price()
            job.promise.due_s, job.promise.work_s = job.due_s, job.work_s
        for job in queued:
            self._jobs.enqueue(job)
        self._timetable.sort_anew()

    def check(self) -> None:
        """Raises AssertionError unless the timetable is that of the live jobs."""
        held = {promise.job_id for promise in self._timetable if promise.held}
        promised = [promise.job_id for promise in self._timetable]
        assert sorted(promised) == sorted(job.job_id for job in self._jobs), (
            "the timetable has other jobs"
        )
        assert held == set(self._jobs.held), "the timetable holds other jobs"
        assert self._hopes == sum(job.hope is not Hope.NONE for job in self._jobs)

    def _earliest_s(self, job: LiveJob, now: float) -> float:
        """By when a new job could be done."""
        if self._policy is Policy.FIFO:
            return now + job.fifo_s
        earliest_s = self._timetable.earliest_s(self._jobs.free_s(now), job.work_s)
        return min(earliest_s, job.bound_s)

    def _end_s(self, job: LiveJob, now: float) -> float:
        """When it ends at the earliest: if nothing comes between."""
        return self._jobs.free_s(now) + job.work_s

    def _give_up(self, job: LiveJob) -> None:
        queued = job.queued
        if queued:
            self._jobs.dequeue(job)
        self._lose_hope(job)
        self._timetable.postpone(job.promise, job.bound_s)
        if queued:
            self._jobs.enqueue(job)

    def _lose_hope(self, job: LiveJob) -> None:
        job.hope, job.promise.reserve_s = Hope.NONE, 0.0
        self._hopes -= 1
