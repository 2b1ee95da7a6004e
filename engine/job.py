"""A request's life: where it stands, and what it remembers."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from wan_trt.engine.checkpoint import Checkpoint, Checkpoints
from wan_trt.engine.cursor import Cursor
from wan_trt.engine.errors import CancelledError, DeadlineError, StorageFullError, WanTrtError
from wan_trt.engine.frames import FrameSink
from wan_trt.engine.job_tensors import JobTensors
from wan_trt.engine.preview_requests import PreviewRequests
from wan_trt.engine.reporting import OnEvent, Reports
from wan_trt.engine.request import JobState, Request, Step
from wan_trt.engine.schedule import Schedule, expert_for
from wan_trt.engine.scheduling.unit import Stage, Unit
from wan_trt.engine.segments import Segment, SegmentPlan
from wan_trt.engine.solver import StepCoefficients, solver_coefficients
from wan_trt.engine.timing import StageTimes, StageUsage

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobSummary:
    """What can be said of a job at any time, also after its end."""

    job_id: str
    state: JobState
    stages: Mapping[Stage, StageUsage]
    error: WanTrtError | None = None


class SuspendedError(Exception):
    """Stops a unit of work of a job that another process is to take up again."""


class Job:
    """Changed only by the lane that has its unit, or ends it, but for `cancel_requested`,
    `suspend_requested` and `previews`.

    `resume` is the checkpoint that it goes on from, until it has; `retry_at` (monotonic) is when
    a paused job is looked at again. `pending` is a unit that is done but could not be kept.
    """

    def __init__(
        self,
        job_id: str,
        request: Request,
        sink: FrameSink,
        on_event: OnEvent | None,
        plan: SegmentPlan,
        schedule: Schedule,
        boundary: float,
        resume: Checkpoint | None = None,
        keep: Checkpoints | None = None,
        deadline: float | None = None,
        owner: str = "",
        priority: float = 1.0,
    ) -> None:
        self.job_id = job_id
        self.request = request
        self.sink = sink
        self.plan = plan
        self.schedule = schedule
        self.state = JobState.QUEUED
        self.error: WanTrtError | None = None
        self.resume = resume
        self.keep = keep
        self.deadline = deadline
        self.owner = owner
        self.priority = priority
        self.cursor = resume.cursor.entry if resume else Cursor()
        self.tensors: JobTensors | None = None
        self.times = StageTimes()
        self.cancel_requested = False
        self.suspend_requested = False
        self.retry_at = 0.0
        self.pending: Unit | None = None
        self.previews = PreviewRequests()
        self.reports = Reports(on_event)
        self._boundary = boundary
        self._coefficients = solver_coefficients(request.sampling.solver, schedule.sigmas)

    @property
    def segment(self) -> Segment:
        return self.plan.segments[self.cursor.segment]

    @property
    def unit(self) -> Unit:
        """The next thing to do."""
        at = self.cursor
        step = self.step(at.step) if at.stage is Stage.DENOISE else None
        return Unit(self.job_id, at.stage, at.segment, step)

    @property
    def following(self) -> Cursor | None:
        """What comes after that; None after the last unit."""
        if self.resume is not None and self.resume.cursor != self.cursor:
            return self.resume.cursor
        return self.cursor.following(len(self.plan.segments), self.schedule.steps)

    def step(self, index: int) -> Step:
        timestep = self.schedule.timesteps[index]
        return Step(
            job_id=self.job_id,
            segment=self.cursor.segment,
            index=index,
            timestep=timestep,
            sigma=self.schedule.sigmas[index],
            next_sigma=self.schedule.sigmas[index + 1],
            expert=expert_for(timestep, self._boundary),
        )

    def coefficients(self, step: Step) -> StepCoefficients:
        return self._coefficients[step.index]

    def passes(self, step: Step) -> int:
        """Forward passes of the network in a step."""
        return 1 if self.request.guidance(step.expert) == 1 else 2

    @cached_property
    def segment_passes(self) -> Sequence[int]:
        """Those of each step of a segment: the same in all of them, and asked for after each."""
        return [self.passes(self.step(index)) for index in range(self.schedule.steps)]

    def check(self) -> None:
        """Called within units and between them: raises CancelledError, DeadlineError or
        SuspendedError once the job is not to go on."""
        if self.cancel_requested:
            raise CancelledError(f"job {self.job_id} was cancelled")
        if self.deadline is not None and time.time() >= self.deadline:
            raise DeadlineError(
                f"job {self.job_id} is not done in the time that it was given",
                action="give it more, or use a machine that is faster or less busy",
                field="timeout_s",
            )
        if self.suspend_requested:
            raise SuspendedError

    @property
    def due_at(self) -> float:
        """When there is something to do for the job: by the monotonic clock, 0 for now."""
        if self.state is not JobState.PAUSED or self.cancel_requested or self.suspend_requested:
            return 0.0
        left = math.inf if self.deadline is None else self.deadline - time.time()
        return min(self.retry_at, time.monotonic() + left)

    def keep_due(self, unit: Unit) -> bool:
        """Whether a checkpoint is to be kept when `unit` is done."""
        if self.keep is None or unit.stage in (Stage.CONDITIONING, Stage.RESULT):
            return False
        every = self.keep.every_steps
        return unit.step is None or (every > 0 and (unit.step.index + 1) % every == 0)

    def begin(self) -> None:
        """The next unit starts. The start of a segment is reported: its conditioning may be long,
        and nothing else is heard of it before it is done."""
        fresh = self.state is JobState.QUEUED
        if fresh:
            self.reports.begin()
            self.state = JobState.RUNNING
        if fresh or (self.cursor.stage is Stage.CONDITIONING and self.state is JobState.RUNNING):
            self.reports.tell(self)

    def pause(self, error: StorageFullError) -> None:
        """Wait for room. It is told once, however often there still is none."""
        self.retry_at = time.monotonic() + error.retry_after_s
        if self.state is not JobState.PAUSED:
            self.state = JobState.PAUSED
            self.reports.tell(self, error=error)

    def advance(self, unit: Unit) -> None:
        """`unit` is done; `following` is next."""
        if self.state is JobState.PAUSED:
            self.state = JobState.RUNNING
        self.reports.tell(self, unit)
        following = self.following
        assert following is not None, "the last unit finishes the job"
        self.cursor = following
        self.resume = None

    def finish(self, state: JobState, error: WanTrtError | None = None) -> None:
        """Enter a final state, report it and let go of everything large."""
        self.state, self.error = state, error
        if self.tensors is not None:
            tensors, self.tensors = self.tensors, None
            try:
                tensors.close()
            except WanTrtError:  # a device that is lost takes its memory along
                _log.exception("the memory of job %s could not be given back", self.job_id)
        self.previews.close()
        self.reports.tell(self, error=error)

    def summary(self) -> JobSummary:
        return JobSummary(self.job_id, self.state, dict(self.times.usage), self.error)
