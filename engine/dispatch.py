"""Between jobs and the scheduler: jobs as it sees them, its decisions as turns, costs measured.

    arrival -> scheduler -> turn -> .. -> result
                  ^          |
                  +- pause <-+

Beside the schedule, and before it: a paused job's unit that only has to be kept, and the result of
a job whose frames are all there. Both are short, and somebody waits for them.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.cursor import Cursor
from wan_trt.engine.errors import AdmissionError
from wan_trt.engine.job import Job
from wan_trt.engine.lanes import Lane
from wan_trt.engine.memory.footprint import VideoSize
from wan_trt.engine.models import DENOISER
from wan_trt.engine.request import ExpertName
from wan_trt.engine.scheduling.admission import Refusal
from wan_trt.engine.scheduling.costs import CostKey, CostTable
from wan_trt.engine.scheduling.decision import Decision
from wan_trt.engine.scheduling.experts import OneExpert
from wan_trt.engine.scheduling.operations import operations
from wan_trt.engine.scheduling.preference import Policy
from wan_trt.engine.scheduling.scheduler import Scheduler
from wan_trt.engine.scheduling.unit import Stage, Unit
from wan_trt.engine.scheduling.work import Run, Submission, job_runs

_OPERATIONS_PER_S = 1e12  # until something was measured; only its ratios count then


@dataclass(frozen=True)
class SchedulingOptions:
    """`admission`: a deadline that cannot be kept is refused at once, as soon as costs are known;
    without it jobs are let in and end when their time is over."""

    policy: Policy = Policy.DEADLINE
    admission: bool = True


@dataclass(frozen=True)
class Turn:
    """A job and the unit that it may do now. `decision` is None for what is not scheduled."""

    job: Job
    unit: Unit
    decision: Decision | None


class Dispatcher:
    """Every job that is not over is in the scheduler, waits for its result to be written, or is to
    end early. One that is paused, there or here, gets no turns. Any thread may call it."""

    def __init__(
        self,
        bundle: Bundle,
        backend: str,
        options: SchedulingOptions,
        one_expert: OneExpert | None = None,
    ) -> None:
        """`backend` names the device: what was measured on one says nothing of another.
        `one_expert` where only one is in memory at a time."""
        self._bundle = bundle
        self._backend = backend
        self._costs = CostTable(
            partial(operations, geometry=bundle.manifest.geometry), _OPERATIONS_PER_S
        )
        self._admission = options.admission
        self._scheduler = Scheduler(
            self._costs, options.policy, one_expert=one_expert, admission=options.admission
        )
        self._scheduled: dict[str, Job] = {}
        self._results: OrderedDict[str, Job] = OrderedDict()
        self._paused: OrderedDict[str, Job] = OrderedDict()
        self._ending: set[str] = set()
        self._out: set[str] = set()  # jobs that some lane has at hand
        self._lock = threading.RLock()

    def learn_costs(self, known: Mapping[CostKey, float]) -> None:
        """Begin with what was measured on this bundle before; what is of another device is left
        out."""
        with self._lock:
            self._costs.learn({key: known[key] for key in known if key.backend == self._backend})

    def measured_costs(self) -> dict[CostKey, float]:
        with self._lock:
            return self._costs.measured()

    def enter(self, job: Job) -> None:
        """Let a job in. Raises AdmissionError where it cannot be done by its deadline."""
        with self._lock:
            if job.cursor.stage is Stage.RESULT:
                self._results[job.job_id] = job
            elif refusal := self._submit(job):
                raise _refused(refusal, job)

    def next(self, lane: Lane = Lane.EVERY) -> Turn | None:
        """Whose turn it is in a lane; None where there is nothing to do now. The job is then out
        until `done`, `pause`, `leave` or `give_back`."""
        with self._lock:
            turn = self._after_a_pause(lane) or self._result(lane) or self._scheduled_turn(lane)
            if turn is not None:
                self._out.add(turn.job.job_id)
            return turn

    def claim(self, job: Job) -> bool:
        """Take a job out that is to end early, and gets no turn any more; False where its unit
        runs, or it is over."""
        with self._lock:
            if job.job_id in self._out:
                return False
            if not self._withdraw(job.job_id) and job.job_id not in self._ending:
                return False
            self._ending.add(job.job_id)
            self._out.add(job.job_id)
            return True

    def give_back(self, job: Job) -> None:
        """The job is not out any more. One whose unit was scheduled gets no other turn: it can only
        be claimed."""
        with self._lock:
            self._out.discard(job.job_id)

    @property
    def idle(self) -> bool:
        """Whether no job is out."""
        with self._lock:
            return not self._out

    def done(self, turn: Turn, seconds: float) -> None:
        """The unit took so long, and the job has moved on to the next one."""
        with self._lock:
            self._out.discard(turn.job.job_id)
            if turn.decision is None:  # what a pause was for
                self._go_on(turn.job)
            else:
                self._unit_done(turn.job, turn.decision, seconds)

    def pause(self, turn: Turn, seconds: float) -> None:
        """The job waits until its `due_at`, and keeps its place. The unit, which took so long, is
        to be done again, unless it is pending: then it only has to be kept."""
        with self._lock:
            job, now = turn.job, time.monotonic()
            self._out.discard(job.job_id)
            if turn.decision is not None:
                if job.pending is not None:
                    self._unit_done(job, turn.decision, seconds)
                else:
                    self._scheduler.give_back(turn.decision, now)
                if job.job_id in self._scheduled:
                    self._scheduler.hold(job.job_id, now)
            self._paused[job.job_id] = job

    def leave(self, job: Job) -> None:
        """The job has ended, or goes elsewhere."""
        with self._lock:
            self._out.discard(job.job_id)
            self._withdraw(job.job_id)
            self._ending.discard(job.job_id)

    def check(self) -> None:
        """Raises AssertionError unless every job is in exactly one place."""
        with self._lock:
            self._scheduler.check()
            assert len(self._scheduler) == len(self._scheduled), "the schedule has other jobs"
            turns = [*self._scheduled, *self._results]
            places = [*turns, *self._ending]
            assert len(places) == len(set(places)), "a job is in two places"
            assert set(self._paused) <= set(turns), "a job that waits has no turns to come"
            assert self._out <= set(places), "a job is out that is nowhere"

    def _withdraw(self, job_id: str) -> bool:
        """Give a job no turns any more. Whether it had any."""
        self._paused.pop(job_id, None)
        if self._scheduled.pop(job_id, None):
            self._scheduler.cancel(job_id)
            return True
        return self._results.pop(job_id, None) is not None

    def _scheduled_turn(self, lane: Lane) -> Turn | None:
        decision = self._scheduler.next(time.monotonic(), lane.stages)
        if decision is None:
            return None
        job = self._scheduled[decision.job_id]
        assert job.unit.stage is decision.stage, "the schedule is of another unit"
        return Turn(job, job.unit, decision)

    def _after_a_pause(self, lane: Lane) -> Turn | None:
        now = time.monotonic()
        for job in [job for job in self._paused.values() if job.due_at <= now]:
            if job.job_id in self._out:
                continue
            if job.pending is None:
                self._go_on(job)
            elif job.pending.stage in lane.stages:
                return Turn(job, job.pending, None)
        return None

    def _go_on(self, job: Job) -> None:
        """A job that was paused gets turns again."""
        del self._paused[job.job_id]
        if job.job_id in self._scheduled:
            self._scheduler.release(job.job_id, time.monotonic())

    def _result(self, lane: Lane) -> Turn | None:
        if Stage.RESULT in lane.stages:
            for job_id, job in self._results.items():
                if job_id not in self._out and job_id not in self._paused:
                    return Turn(job, job.unit, None)
        return None

    def _unit_done(self, job: Job, decision: Decision, seconds: float) -> None:
        if not self._scheduler.done(decision, seconds):
            self._results[job.job_id] = self._scheduled.pop(job.job_id)

    def _submit(self, job: Job) -> Refusal | None:
        now, runs = time.monotonic(), self._runs(job)
        # What nobody has measured is only guessed: nothing is promised or refused by it.
        known = all(self._costs.cost(run.key).measured for run in runs)
        deadline_s = None
        if job.deadline is not None and (known or not self._admission):
            deadline_s = now + job.deadline - time.time()
        submission = Submission(job.job_id, runs, job.owner, job.priority, deadline_s)
        refusal = self._scheduler.submit(submission, now)
        if refusal is None:
            self._scheduled[job.job_id] = job
        return refusal

    def _runs(self, job: Job) -> tuple[Run, ...]:
        """What is left of a job. One that is taken up in the middle of a segment conditions it
        first."""
        steps = [job.step(index) for index in range(job.schedule.steps)]
        of_job = partial(
            job_runs,
            len(job.plan.segments),
            [(step.expert, job.passes(step)) for step in steps],
            partial(self._key, job),
        )
        if job.resume is None or job.resume.cursor == job.cursor:
            return of_job(at=job.cursor)
        (conditioning, *_) = of_job(at=Cursor(job.cursor.segment))
        return (conditioning, *of_job(at=job.resume.cursor))

    def key(self, job: Job, unit: Unit) -> CostKey:
        """What the seconds of a unit are measured of."""
        return self._key(job, unit.stage, unit.step.expert if unit.step else None)

    def _key(self, job: Job, stage: Stage, expert: ExpertName | None) -> CostKey:
        engine = "vae"
        if expert is not None:
            engine = f"{DENOISER}.{self._bundle.weight_set(DENOISER, expert)}"
        size = VideoSize(job.request.height, job.request.width, job.segment.frames)
        return CostKey(stage, engine, size, self._bundle.manifest.precision, self._backend)


def _refused(refusal: Refusal, job: Job) -> AdmissionError:
    """What the one who asked is told."""
    assert refusal.possible_s is not None, "only deadlines are refused"
    in_s = max(0.0, refusal.possible_s - time.monotonic())
    left_s = max(0.0, (job.deadline or 0.0) - time.time())
    return AdmissionError(
        f"the job cannot be done within {left_s:.3g} s: {refusal.reason.value}",
        expected=f"at least {in_s:.3g} s, as things stand",
        action="give it more time, or send it later or to another server",
        field="timeout_s",
        possible_in_s=in_s,
    )
