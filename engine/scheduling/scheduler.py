"""Which job's next unit of work runs: jobs in, decisions out (docs/scheduling.md)."""

from __future__ import annotations

from collections.abc import Collection

from wan_trt.engine.scheduling.admission import Refusal, no_room
from wan_trt.engine.scheduling.choice import Choice
from wan_trt.engine.scheduling.costs import CostTable
from wan_trt.engine.scheduling.decision import Decision
from wan_trt.engine.scheduling.experts import Experts, OneExpert
from wan_trt.engine.scheduling.live_job import Hope, LiveJob
from wan_trt.engine.scheduling.live_jobs import LiveJobs
from wan_trt.engine.scheduling.pace import Pace
from wan_trt.engine.scheduling.preference import Policy, preference
from wan_trt.engine.scheduling.promises import Promises
from wan_trt.engine.scheduling.timetable import Timetable
from wan_trt.engine.scheduling.unit import Stage
from wan_trt.engine.scheduling.work import Submission

BOUND = 2.25
"""A job is done within so many times what first come, first served would take. Users are told 3:
the rest is for costs that were underestimated."""

EVERY_STAGE = frozenset(Stage)


class Scheduler:
    """Deterministic; knows time only by what it is told, which never goes back.

    Raises ValueError for calls that no caller should make: a job id that is live already, a unit
    that is not out.
    """

    def __init__(
        self,
        costs: CostTable,
        policy: Policy = Policy.FIFO,
        *,
        one_expert: OneExpert | None = None,
        admission: bool = False,
        state_capacity_nbytes: int | None = None,
        bound: float = BOUND,
        pace: Pace | None = None,
    ) -> None:
        """`one_expert` where only one expert fits into memory. With `admission`, deadlines are
        promised or refused, with the margin of `pace`; without, they are hopes, and of the policy
        DEADLINE alone."""
        self.policy = policy
        self.admission = admission
        self._costs = costs
        self._capacity_nbytes = state_capacity_nbytes
        self._pace = pace or Pace()
        self._experts = Experts(one_expert, policy.groups_experts)
        self._timetable = Timetable()
        self._jobs = LiveJobs(preference(policy), self._experts)
        self._promises = Promises(
            self._jobs,
            self._timetable,
            costs,
            policy,
            self._pace if admission else None,
            bound,
            self._experts.load_s,
        )
        self._choice = Choice(policy, self._jobs, self._timetable, self._experts)
        self._submissions = 0

    def __len__(self) -> int:
        """Jobs that are live."""
        return len(self._jobs)

    def submit(self, submission: Submission, now: float) -> Refusal | None:
        """Let a job in, or say why not. Those that are held count as if they went on now."""
        if submission.job_id in self._jobs:
            raise ValueError(f"job {submission.job_id} is live already")
        self._promises.keep_up(now)
        for held in self._jobs.held.values():
            self._promises.go_on(held, now)
        refusal = self._admit(submission, now)
        for held in self._jobs.held.values():
            self._promises.hold(held, now)
        return refusal

    def _admit(self, submission: Submission, now: float) -> Refusal | None:
        job = LiveJob(submission, self._submissions, now, self._costs, self._experts.load_s)
        refusal = self._no_room(job, now) or self._promises.make(job, now)
        if refusal is not None:
            return refusal
        self._submissions += 1
        self._promises.add(job)
        self._jobs.add(job)
        if job.hope is Hope.HARD and not self.admission:
            self._promises.give_up(now)
        return None

    def _no_room(self, job: LiveJob, now: float) -> Refusal | None:
        if self._capacity_nbytes is None:
            return None
        return no_room(job, self._capacity_nbytes, self._jobs, self._timetable, now)

    def next(self, now: float, stages: Collection[Stage] = EVERY_STAGE) -> Decision | None:
        """The unit to do, of one of these stages; None where no job has one, or none may go yet.
        Conditioning and decoding go together: one of them stands for both.

        With all stages there is one lane. A lane with a part of them is asked again whenever a unit
        of another ends: it stays idle rather than let a promise be broken, and it begins no job
        while `AHEAD` jobs wait between the lanes (docs/scheduling.md)."""
        self._promises.keep_up(now)
        self._promises.give_up(now)
        job = self._choice.choose(now, stages)
        if job is None:
            if not self._jobs.out:
                self._pace.rest(now)
            return None
        self._jobs.dequeue(job)
        decision = self._decide(job, now)
        load_s = self._experts.load_s if decision.load else 0.0
        if job.cost.measured:
            self._pace.begin(now, decision.seconds + load_s)
        else:
            self._pace.rest(now)
        self._jobs.hand_out(job, now, now + decision.seconds + load_s)
        self._promises.handed_out(job)
        return decision

    def _decide(self, job: LiveJob, now: float) -> Decision:
        """The job's next unit, and the experts that it needs."""
        expert = job.run.expert
        load = expert if expert is not None and self._experts.loads(expert) else None
        if expert is not None:
            self._experts.use(expert)
        return Decision(
            job_id=job.job_id,
            index=job.index,
            stage=job.run.stage,
            expert=expert,
            seconds=job.unit_s,
            load=load,
            prefetch=self._experts.prefetch(job, now),
        )

    def done(self, decision: Decision, seconds: float) -> bool:
        """The unit is done; `seconds` are its own, without a load. Whether the job goes on."""
        job, unit = self._jobs.take_in(decision)
        self._costs.record(unit.cost, seconds / unit.passes)
        if job.ended:
            self._forget(job)
            return False
        self._jobs.enqueue(job)
        return True

    def give_back(self, decision: Decision, now: float) -> None:
        """The unit was begun in vain: it is the job's next one again. What it took until now was
        longer than expected for everybody."""
        job, unit = self._jobs.take_in(decision)
        self._jobs.take_back(job, unit)
        self._promises.given_back(job, unit.began_s, now)
        self._jobs.enqueue(job)
        self._promises.keep_up(now)

    def hold(self, job_id: str, now: float) -> None:
        """Give a job no turns until `release`; no unit of it is out. It keeps its place: arrival,
        share and promises, which slip by the time that it is held, and what is left then of units
        that began in it. What was promised to others stands, and nobody takes the room that the job
        will need."""
        job = self._jobs[job_id]
        if not job.queued:
            raise ValueError(f"job {job_id} is out, or held already")
        self._promises.keep_up(now)
        self._jobs.hold(job)
        self._promises.hold(job, now)

    def release(self, job_id: str, now: float) -> None:
        """The job goes on. Its deadline does not slip: one that cannot be kept any more is given
        up. Raises KeyError for a job that is not held."""
        self._promises.keep_up(now)
        job = self._jobs.held[job_id]
        self._promises.go_on(job, now)
        self._jobs.release(job)

    def cancel(self, job_id: str) -> None:
        """End a job early, also while it is held, or a unit of it is out, which is then not `done`;
        also a job that failed. Raises KeyError for one that is not live."""
        self._forget(self._jobs[job_id])

    def check(self) -> None:
        """Raises AssertionError unless every live job is in exactly one place. Takes time by the
        job; call it when idle."""
        self._jobs.check()
        self._promises.check()

    def fifo_s(self, job_id: str) -> float:
        """What a live job would take from its arrival to its end if first come were first
        served."""
        return self._jobs[job_id].fifo_s

    def _forget(self, job: LiveJob) -> None:
        self._jobs.forget(job)
        self._promises.forget(job)
