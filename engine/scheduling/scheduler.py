"""Which job's next unit of work runs: jobs in, decisions out (docs/scheduling.md)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from wan_trt.engine.request import ExpertName
from wan_trt.engine.scheduling.admission import Reason, Refusal, room_at_s
from wan_trt.engine.scheduling.costs import TOLERANCE, CostTable
from wan_trt.engine.scheduling.experts import Experts, OneExpert
from wan_trt.engine.scheduling.live_job import (
    Coding,
    Hope,
    Kind,
    LiveJob,
    Passes,
    add_passes,
    take_passes,
)
from wan_trt.engine.scheduling.pace import Pace
from wan_trt.engine.scheduling.preference import Policy, preference
from wan_trt.engine.scheduling.timetable import Timetable
from wan_trt.engine.scheduling.unit import Stage
from wan_trt.engine.scheduling.work import Submission

BOUND = 2.25
"""A job is done within so many times what first come, first served would take. Users are told 3:
the rest is for costs that were underestimated."""

PASSES_MOST = 2
"""Forward passes of a unit: guidance takes two."""

ROUNDING_S = 1e-6
"""Sums in another order differ by less."""

AHEAD = 2
"""So many jobs wait between two lanes, and no other begins: each holds the memory of a job."""

SOFT = 10.0
"""A job without a deadline is hoped to be done within so many times its own work."""

EVERY_STAGE = frozenset(Stage)


@dataclass(frozen=True)
class Decision:
    """Do the job's next unit, its `index`-th, which is expected to take `seconds`. `load` is the
    expert to load before it, `prefetch` the one to fetch beside it."""

    job_id: str
    index: int
    stage: Stage
    expert: ExpertName | None
    seconds: float
    load: ExpertName | None = None
    prefetch: ExpertName | None = None


@dataclass
class _Held:
    """A job without turns since a time, when `slip_s` had slipped for all."""

    job: LiveJob
    since_s: float
    slip_s: float


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
        if bound < 1:
            raise ValueError(f"a bound of at least first come, first served, 1, not {bound}")
        self.policy = policy
        self._costs = costs
        self.admission = admission
        self._capacity = state_capacity_nbytes
        self._bound = bound
        self._pace = pace or Pace()
        self._preference = preference(policy)
        self._experts = Experts(one_expert, policy.groups_experts)
        self._timetable = Timetable()
        self._jobs: dict[str, LiveJob] = {}
        self._out: dict[str, LiveJob] = {}
        self._held: dict[str, _Held] = {}
        self._hopes = 0
        self._at_seam = 0
        self._left: Passes = {}  # of all jobs, without what is out
        self._loads = 0
        self._state_nbytes = 0
        self._submissions = 0
        self._priced = costs.version
        self._ends_s = 0.0  # when what was handed out last should have ended
        self._slip_s = self._slip_sorted_s = 0.0

    def __len__(self) -> int:
        """Jobs that are live."""
        return len(self._jobs)

    def submit(self, submission: Submission, now: float) -> Refusal | None:
        """Let a job in, or say why not. Those that are held count as if they went on now."""
        if submission.job_id in self._jobs:
            raise ValueError(f"job {submission.job_id} is live already")
        self._keep_up(now)
        for held in self._held.values():
            self._slip(held, now)
        refusal = self._admit(submission, now)
        for held in self._held.values():
            self._timetable.hold(held.job.promise, True)
        return refusal

    def _admit(self, submission: Submission, now: float) -> Refusal | None:
        job = LiveJob(submission, self._submissions, now, self._costs, self._experts.load_s)
        job.slipped_s = self._slip_sorted_s - self._slip_s  # what slipped before is not its own
        loads_s = self._loads * self._experts.load_s
        job.bind(self._bound, self._left, self._free_s(now) - now + loads_s)
        if refusal := self._no_room(job, now) or self._hope(job, now):
            return refusal
        self._submissions += 1
        self._jobs[job.job_id] = job
        self._state_nbytes += submission.state_nbytes
        self._timetable.add(job.promise)
        self._hopes += job.hope is not Hope.NONE
        self._loads += job.loads
        add_passes(self._left, job.left)
        self._preference.arrive(job)
        self._enqueue(job)
        if job.hope is Hope.HARD and not self.admission:
            self._give_up(self._free_s(now))
        return None

    def next(self, now: float, stages: Collection[Stage] = EVERY_STAGE) -> Decision | None:
        """The unit to do, of one of these stages; None where no job has one, or none may go yet.
        Conditioning and decoding go together: one of them stands for both.

        With all stages there is one lane. A lane with a part of them is asked again whenever a unit
        of another ends: it stays idle rather than let a promise be broken, and it begins no job
        while `AHEAD` jobs wait between the lanes (docs/scheduling.md)."""
        self._keep_up(now)
        free_s = self._free_s(now)
        self._give_up(free_s)
        job = self._choose(now, stages)
        if job is None:
            if not self._out:
                self._pace.rest(now)
            return None
        self._dequeue(job)
        self._preference.serve(job)
        run, expert, seconds = job.run, job.run.expert, job.unit_s
        load = expert if expert is not None and self._experts.loads(expert) else None
        if expert is not None:
            self._experts.use(expert)
        decision = Decision(
            job_id=job.job_id,
            index=job.index,
            stage=run.stage,
            expert=expert,
            seconds=seconds,
            load=load,
            prefetch=self._experts.prefetch(job, now),
        )
        self._loads -= job.loads
        take_passes(self._left, {job.cost: run.passes})
        if job.cost.measured:
            self._pace.begin(now, seconds + (self._experts.load_s if load else 0.0))
        else:
            self._pace.rest(now)
        job.hand_out(now, now + seconds + (self._experts.load_s if load else 0.0))
        self._loads += job.loads
        assert job.out is not None
        self._ends_s = max(self._ends_s, job.out.ends_s)
        self._out[job.job_id] = job
        self._timetable.work_left(job.promise, job.work_s)
        return decision

    def done(self, decision: Decision, seconds: float) -> bool:
        """The unit is done; `seconds` are its own, without a load. Whether the job goes on."""
        job = self._out_by(decision)
        out = job.out
        assert out is not None
        del self._out[job.job_id]
        job.out = None
        self._costs.record(out.cost, seconds / out.passes)
        if job.ended:
            self._forget(job)
            return False
        self._enqueue(job)
        return True

    def give_back(self, decision: Decision, now: float) -> None:
        """The unit was begun in vain: it is the job's next one again. What it took until now was
        longer than expected for everybody."""
        job = self._out_by(decision)
        del self._out[job.job_id]
        assert job.out is not None
        self._slip_s += now - job.out.began_s
        self._ends_s = self._free_s(now)
        self._loads -= job.loads
        add_passes(self._left, {job.out.cost: job.out.passes})
        job.take_back()
        self._loads += job.loads
        self._timetable.work_left(job.promise, job.work_s)
        self._enqueue(job)
        self._keep_up(now)

    def hold(self, job_id: str, now: float) -> None:
        """Give a job no turns until `release`; no unit of it is out. It keeps its place: arrival,
        share and promises, which slip by the time that it is held. What was promised to others
        stands, and nobody takes the room that the job will need."""
        job = self._jobs[job_id]
        if job_id in self._out or job_id in self._held:
            raise ValueError(f"job {job_id} is out, or held already")
        self._keep_up(now)
        self._dequeue(job)
        self._held[job_id] = _Held(job, now, self._slip_s)
        self._timetable.hold(job.promise, True)

    def release(self, job_id: str, now: float) -> None:
        """The job goes on. Its deadline does not slip: one that cannot be kept any more is given
        up. Raises KeyError for a job that is not held."""
        self._keep_up(now)
        held = self._held[job_id]
        self._slip(held, now)
        del self._held[job_id]
        self._enqueue(held.job)

    def cancel(self, job_id: str) -> None:
        """End a job early, also while it is held, or a unit of it is out, which is then not `done`;
        also a job that failed. Raises KeyError for one that is not live."""
        job = self._jobs[job_id]
        if self._queued(job):
            self._dequeue(job)
        self._out.pop(job_id, None)
        self._held.pop(job_id, None)
        self._forget(job)

    def check(self) -> None:
        """Raises AssertionError unless every live job is in exactly one place. Takes time by the
        job; call it when idle."""
        out, promised = set(self._out), [promise.job_id for promise in self._timetable]
        held = {promise.job_id for promise in self._timetable if promise.held}
        assert sorted(promised) == sorted(self._jobs), "the timetable has other jobs"
        assert out <= set(self._jobs), "a unit of no live job is out"
        assert held == set(self._held), "the timetable holds other jobs"
        for job_id, job in self._jobs.items():
            assert (job.out is not None) == (job_id in out), f"{job_id} is out, or is it"
            places = (job_id in out) + (job_id in held) + job.queued % 2
            assert places == 1, f"{job_id} is in {places} places"
        assert self._hopes == sum(job.hope is not Hope.NONE for job in self._jobs.values())
        queued = [job for job in self._jobs.values() if self._queued(job)]
        assert self._at_seam == sum(job.at_seam for job in queued)

    def fifo_s(self, job_id: str) -> float:
        """What a live job would take from its arrival to its end if first come were first
        served."""
        return self._jobs[job_id].fifo_s

    def _choose(self, now: float, stages: Collection[Stage]) -> LiveJob | None:
        """The policy's choice, unless somebody cannot wait for it; then who is due first, if that
        is this lane's to do."""
        one_lane = Stage.DENOISE in stages and Stage.DECODE in stages
        kinds = _kinds(stages)
        if not one_lane and self._holds_back():
            kinds = tuple(kind for kind in kinds if kind is not Coding.FIRST)
        job = self._preference.best(kinds)
        if job is not None and self.policy is Policy.FIFO and one_lane:
            return job
        if job is not None and self._experts.loads(job.kind) and self._experts.may_hold(now):
            assert self._experts.resident is not None, "what holds is resident"
            ready = self._preference.best((self._experts.resident,))
            if ready is not None and self._can_go(ready, now):
                self._experts.hold(now)
                return ready
        if job is not None and self._can_go(job, now):
            return job
        return self._due_first(now, kinds, stages)

    def _due_first(
        self, now: float, kinds: tuple[Kind, ...], stages: Collection[Stage]
    ) -> LiveJob | None:
        """Who is due first, or one for which all that are due before can wait. Who is due first
        and cannot wait begins though others are held back; as long as `AHEAD` and two wait, whoever
        has begun goes before. Where promises are broken whatever is done, as while costs are mere
        guesses, no lane stays idle for them."""
        first = True
        for promise in self._timetable:
            job = self._jobs[promise.job_id]
            if promise.held:
                continue
            if job.job_id in self._out:
                first = first and promise.work_s == 0
            elif job.kind in kinds:
                goes = first or self._can_go(job, now) or self._broken(job, now)
                return job if goes else None
            elif job.kind is not Coding.FIRST or self._at_seam < AHEAD + 2:
                if first and job.kind in _kinds(stages) and self._cannot_wait(job, now):
                    return job
                first = False
        return None

    def _cannot_wait(self, job: LiveJob, now: float) -> bool:
        """Whether somebody cannot wait for any unit there is, and the job, which is due first, can
        still be on time."""
        free_s, promise = self._free_s(now), job.promise
        if promise.due_s - promise.work_s < free_s - ROUNDING_S:
            return False
        return self._timetable.latest_start_s() < free_s + self._longest_s()

    def _broken(self, job: LiveJob, now: float) -> bool:
        """Whether those who are due earlier cannot all be on time, though the job waits."""
        latest_s = self._timetable.latest_start_s(before=job.promise)
        return latest_s < self._free_s(now) - ROUNDING_S

    def _holds_back(self) -> bool:
        """Whether jobs without state do not begin: enough of those that have begun wait between the
        lanes. One more may where it would be preferred to all of them, so that it can overtake."""
        if self._at_seam == AHEAD:
            best = self._preference.best((*Coding, *ExpertName))
            return best is None or best.kind is not Coding.FIRST
        return self._at_seam > AHEAD

    def _longest_s(self) -> float:
        """No unit that is left takes longer, with its load."""
        passes = max((cost.seconds for cost in self._left), default=0.0)
        return PASSES_MOST * passes + self._experts.load_s

    def _can_go(self, job: LiveJob, now: float) -> bool:
        """Whether all who are due earlier can wait for the job's unit, and all for its load."""
        load_s = self._experts.load_s if self._experts.loads(job.kind) else 0.0
        free_s = self._free_s(now)
        if load_s and self._timetable.latest_start_s() < max(free_s, now + load_s):
            return False
        ends_s = max(free_s, now + load_s + job.unit_s)
        return self._timetable.latest_start_s(before=job.promise) >= ends_s

    def _no_room(self, job: LiveJob, now: float) -> Refusal | None:
        nbytes = job.submission.state_nbytes
        if self._capacity is None or self._state_nbytes + nbytes <= self._capacity:
            return None
        if nbytes > self._capacity:
            return Refusal(job.job_id, Reason.TOO_LARGE, None)
        free = self._capacity - self._state_nbytes
        room_s = room_at_s(nbytes, free, self._jobs, self._timetable, self._free_s(now))
        return Refusal(job.job_id, Reason.MEMORY, room_s + job.work_s)

    def _hope(self, job: LiveJob, now: float) -> Refusal | None:
        """Promise the job its deadline, or a soft one; a refusal where that is admission's to
        say."""
        deadline_s = job.submission.deadline_s
        if deadline_s is None:
            soft_s = now + SOFT * job.work_s / job.submission.priority
            if self.policy is Policy.DEADLINE and self._earliest_s(job, now) <= soft_s:
                self._promise(job, Hope.SOFT, soft_s)
        elif self.admission:
            margin = self._pace.margin
            possible_s = now + margin * (self._earliest_s(job, now) - now)
            if possible_s > deadline_s:
                return Refusal(job.job_id, Reason.DEADLINE, possible_s)
            due_s = now + (deadline_s - now) / margin
            self._promise(job, Hope.HARD, due_s, reserve_s=deadline_s - due_s)
        elif self.policy is Policy.DEADLINE and self._free_s(now) + job.work_s <= deadline_s:
            self._promise(job, Hope.HARD, deadline_s)
        return None

    def _promise(self, job: LiveJob, hope: Hope, due_s: float, reserve_s: float = 0.0) -> None:
        job.hope, job.hoped_s = hope, due_s
        job.promise.due_s, job.promise.reserve_s = job.due_s, reserve_s

    def _earliest_s(self, job: LiveJob, now: float) -> float:
        if self.policy is Policy.FIFO:
            return now + job.fifo_s
        earliest_s = self._timetable.earliest_s(self._free_s(now), job.work_s)
        return min(earliest_s, job.bound_s)

    def _give_up(self, free_s: float) -> None:
        """Take hope from as few jobs as need be for the other promises to be kept: soft ones first,
        then the largest whose loss suffices."""
        while self._hopes:
            violation = self._timetable.violation(free_s, self._experts.load_s)
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
            self._take_hope(max(soft or enough or hopeful, key=lambda job: job.weighted_s))

    def _take_hope(self, job: LiveJob) -> None:
        queued = self._queued(job)
        if queued:
            self._dequeue(job)
        job.hope = Hope.NONE
        self._hopes -= 1
        job.promise.reserve_s = 0.0
        self._timetable.postpone(job.promise, job.bound_s)
        if queued:
            self._enqueue(job)

    def _keep_up(self, now: float) -> None:
        """Sort everything anew where costs were published, or where units took so much longer than
        expected that it shows: first come, first served would have slipped as well, so bounds
        do."""
        if len(self._jobs) == len(self._held):  # nobody could have had a turn
            self._ends_s = now
        elif now > self._ends_s:
            self._slip_s += now - self._ends_s
            self._ends_s = now
        slip_s = self._slip_s - self._slip_sorted_s
        if self._priced == self._costs.version and slip_s <= TOLERANCE * self._timetable.work_s:
            return
        self._priced, self._slip_sorted_s = self._costs.version, self._slip_s
        queued = [job for job in self._jobs.values() if self._queued(job)]
        for job in queued:
            self._dequeue(job)
        for job in self._jobs.values():
            job.slipped_s += slip_s
            job.price()
            job.promise.due_s, job.promise.work_s = job.due_s, job.work_s
        for job in queued:
            self._enqueue(job)
        self._timetable = Timetable(job.promise for job in self._jobs.values())

    def _slip(self, held: _Held, now: float) -> None:
        """Its promises slip by the time that the job was held so far, instead of what slipped for
        all meanwhile. As it is kept room for, they then fit; but for a deadline, which does not
        slip. It counts as not held from now on."""
        job, held_s = held.job, now - held.since_s
        job.held_s += held_s
        job.slipped_s -= self._slip_s - held.slip_s
        held.since_s, held.slip_s = now, self._slip_s
        self._timetable.remove(job.promise)
        if job.hope is Hope.SOFT:
            job.hoped_s += held_s
        elif job.hope is Hope.HARD:
            earliest_s = self._timetable.earliest_s(self._free_s(now), job.work_s)
            if earliest_s > job.hoped_s + job.promise.reserve_s:
                job.hope, job.promise.reserve_s = Hope.NONE, 0.0
                self._hopes -= 1
        job.promise.due_s = job.due_s
        job.promise.held = False
        self._timetable.add(job.promise)

    def _out_by(self, decision: Decision) -> LiveJob:
        """The job whose unit was handed out by a decision."""
        job = self._out.get(decision.job_id)
        if job is None or job.out is None or job.out.index != decision.index:
            raise ValueError(f"unit {decision.index} of job {decision.job_id} is not out")
        return job

    def _queued(self, job: LiveJob) -> bool:
        """Whether its next unit may be handed out."""
        return job.job_id not in self._out and job.job_id not in self._held

    def _free_s(self, now: float) -> float:
        """When the units that are out will have ended: then every lane is free."""
        for job in self._out.values():
            if job.out and job.out.ends_s > now:
                now = job.out.ends_s
        return now

    def _enqueue(self, job: LiveJob) -> None:
        self._preference.add(job)
        self._experts.add(job)
        self._at_seam += job.at_seam

    def _dequeue(self, job: LiveJob) -> None:
        self._preference.remove(job)
        self._experts.remove(job)
        self._at_seam -= job.at_seam

    def _forget(self, job: LiveJob) -> None:
        del self._jobs[job.job_id]
        self._state_nbytes -= job.submission.state_nbytes
        self._hopes -= job.hope is not Hope.NONE
        self._loads -= job.loads
        take_passes(self._left, job.left)
        self._timetable.remove(job.promise)


def _kinds(stages: Collection[Stage]) -> tuple[Kind, ...]:
    """What units of these stages may need. Conditioning and decoding are one lane."""
    denoise: tuple[Kind, ...] = tuple(ExpertName) if Stage.DENOISE in stages else ()
    coding = Stage.CONDITIONING in stages or Stage.DECODE in stages
    return (*Coding, *denoise) if coding else denoise
