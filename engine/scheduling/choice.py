"""Whose unit is next: the policy's choice, as long as every promise can wait for it."""

from __future__ import annotations

from collections.abc import Collection

from wan_trt.engine.request import ExpertName
from wan_trt.engine.scheduling.experts import Experts
from wan_trt.engine.scheduling.live_job import Coding, Kind, LiveJob
from wan_trt.engine.scheduling.live_jobs import LiveJobs
from wan_trt.engine.scheduling.preference import Policy
from wan_trt.engine.scheduling.timetable import Timetable
from wan_trt.engine.scheduling.unit import Stage

AHEAD = 2
"""So many jobs wait between two lanes, and no other begins: each holds the memory of a job."""

PASSES_MOST = 2
"""Forward passes of a unit: guidance takes two."""

ROUNDING_S = 1e-6
"""Sums in another order differ by less."""


class Choice:
    """Changes nothing, but notes from when on the resident expert's group goes first."""

    def __init__(
        self, policy: Policy, jobs: LiveJobs, timetable: Timetable, experts: Experts
    ) -> None:
        self._policy = policy
        self._jobs = jobs
        self._preference = jobs.preference
        self._timetable = timetable
        self._experts = experts

    def choose(self, now: float, stages: Collection[Stage]) -> LiveJob | None:
        """The policy's choice, unless somebody cannot wait for it; then who is due first, if that
        is this lane's to do."""
        one_lane = Stage.DENOISE in stages and Stage.DECODE in stages
        kinds = _kinds(stages)
        if not one_lane and self._holds_back():
            kinds = tuple(kind for kind in kinds if kind is not Coding.FIRST)
        job = self._preference.best(kinds)
        if job is not None and self._policy is Policy.FIFO and one_lane:
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
        and cannot wait begins though others are held back. Where promises are broken whatever is
        done, as while costs are mere guesses, no lane stays idle for them."""
        first = True
        for promise in self._timetable:
            job = self._jobs[promise.job_id]
            if promise.held:
                continue
            if job.job_id in self._jobs.out:
                first = first and promise.work_s == 0
            elif job.kind in kinds:
                goes = first or self._can_go(job, now) or self._broken(job, now)
                return job if goes else None
            else:
                if first and job.kind in _kinds(stages) and self._cannot_wait(job, now):
                    return job
                first = False
        return None

    def _can_go(self, job: LiveJob, now: float) -> bool:
        """Whether all who are due earlier can wait for the job's unit, and all for its load."""
        load_s = self._experts.load_s if self._experts.loads(job.kind) else 0.0
        free_s = self._jobs.free_s(now)
        if load_s and self._timetable.latest_start_s() < max(free_s, now + load_s):
            return False
        ends_s = max(free_s, now + load_s + job.unit_s)
        return self._timetable.latest_start_s(before=job.promise) >= ends_s

    def _cannot_wait(self, job: LiveJob, now: float) -> bool:
        """Whether somebody cannot wait for any unit there is, and the job, which is due first, can
        still be on time."""
        free_s, promise = self._jobs.free_s(now), job.promise
        if promise.due_s - promise.work_s < free_s - self._tolerance_s:
            return False
        return self._timetable.latest_start_s() < free_s + self._longest_s()

    def _broken(self, job: LiveJob, now: float) -> bool:
        """Whether those who are due earlier cannot all be on time, though the job waits."""
        latest_s = self._timetable.latest_start_s(before=job.promise)
        return latest_s < self._jobs.free_s(now) - self._tolerance_s

    @property
    def _tolerance_s(self) -> float:
        """The load of an expert that is in use counts once more in what is left to do with it."""
        return self._experts.load_s + ROUNDING_S

    def _holds_back(self) -> bool:
        """Whether jobs without state do not begin: enough of those that have begun wait between the
        lanes. One more may where it would be preferred to all of them, so that it can overtake."""
        if self._jobs.at_seam == AHEAD:
            best = self._preference.best((*Coding, *ExpertName))
            return best is None or best.kind is not Coding.FIRST
        return self._jobs.at_seam > AHEAD

    def _longest_s(self) -> float:
        """No unit that is left takes longer, with its load."""
        passes = max((cost.seconds for cost in self._jobs.left), default=0.0)
        return PASSES_MOST * passes + self._experts.load_s


def _kinds(stages: Collection[Stage]) -> tuple[Kind, ...]:
    """What units of these stages may need. Conditioning and decoding are one lane."""
    denoise: tuple[Kind, ...] = tuple(ExpertName) if Stage.DENOISE in stages else ()
    coding = Stage.CONDITIONING in stages or Stage.DECODE in stages
    return (*Coding, *denoise) if coding else denoise
