"""A request's life: where it stands, what it remembers, what it has reported."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.backend import StepTensors, Update
from wan_trt.engine.checkpoint import Checkpoint, Checkpoints
from wan_trt.engine.cursor import Cursor
from wan_trt.engine.errors import CancelledError, DeadlineError, StorageFullError, WanTrtError
from wan_trt.engine.frames import FrameSink
from wan_trt.engine.memory.tensors import Holding
from wan_trt.engine.request import Event, JobState, Request, Step
from wan_trt.engine.schedule import Schedule, expert_for
from wan_trt.engine.scheduling.unit import Stage, Unit
from wan_trt.engine.segments import Segment, SegmentPlan
from wan_trt.engine.solver import StepCoefficients, solver_coefficients
from wan_trt.engine.space import Tensor
from wan_trt.engine.stages.conditioning import Conditioning
from wan_trt.engine.stages.denoise import Denoiser
from wan_trt.engine.timing import StageTimes, StageUsage

OnEvent = Callable[[Event], None]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobSummary:
    """What can be said of a job at any time, also after its end."""

    job_id: str
    state: JobState
    stages: Mapping[Stage, StageUsage]
    error: WanTrtError | None = None


@dataclass
class JobTensors:
    """What a running job holds in memory: none of it grows with the number of segments.

    All of it but `carried` lies in one piece of the backend's memory. `carried` is the tail of the
    segment before, float32 [3, overlap, height, width]; nothing in the first segment.
    """

    conditioning: Conditioning
    denoiser: Denoiser
    update: Update
    holding: Holding
    carried: NDArray[np.float32]

    @property
    def step(self) -> StepTensors[Tensor]:
        """Latents, velocities and the solver's history."""
        return self.denoiser.step

    def close(self) -> None:
        """Give the memory back, once nothing uses it any more."""
        self.holding.close()
        self.update.close()


class SuspendedError(Exception):
    """Stops a unit of work of a job that another process is to take up again."""


class Job:
    """Changed only by the lane that has its unit, or ends it, but for `cancel_requested`,
    `suspend_requested` and who asks for a preview.

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
        self._previews: list[Future[NDArray[np.uint8]]] = []
        self._asking = threading.Lock()
        self.reporting = threading.RLock()
        self._on_event = on_event
        self._boundary = boundary
        self._coefficients = solver_coefficients(request.sampling.solver, schedule.sigmas)
        self._sequence = 0
        self._started: float | None = None

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
            self._started = time.monotonic()
            self.state = JobState.RUNNING
        if fresh or (self.cursor.stage is Stage.CONDITIONING and self.state is JobState.RUNNING):
            self.emit()

    def pause(self, error: StorageFullError) -> None:
        """Wait for room. It is told once, however often there still is none."""
        self.retry_at = time.monotonic() + error.retry_after_s
        if self.state is not JobState.PAUSED:
            self.state = JobState.PAUSED
            self.emit(error=error)

    def advance(self, unit: Unit) -> None:
        """`unit` is done; `following` is next."""
        if self.state is JobState.PAUSED:
            self.state = JobState.RUNNING
        self.emit(unit)
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
        for preview in self._take_previews():
            preview.cancel()
        self.emit(error=error)

    def ask_for_preview(self) -> Future[NDArray[np.uint8]]:
        """From any thread. Cancelled when the job ends before it makes a step."""
        preview: Future[NDArray[np.uint8]] = Future()
        with self._asking:
            if self.state.final:
                preview.cancel()
            else:
                self._previews.append(preview)
        return preview

    @property
    def preview_wanted(self) -> bool:
        return bool(self._previews)

    def show(self, pictures: NDArray[np.uint8]) -> None:
        """Answer all who asked for a preview."""
        for preview in self._take_previews():
            if preview.set_running_or_notify_cancel():
                preview.set_result(pictures)

    def _take_previews(self) -> list[Future[NDArray[np.uint8]]]:
        with self._asking:
            taken, self._previews = self._previews, []
        return taken

    def summary(self) -> JobSummary:
        return JobSummary(self.job_id, self.state, dict(self.times.usage), self.error)

    def emit(self, unit: Unit | None = None, error: WanTrtError | None = None) -> None:
        """Tell the watcher where the job stands; `unit` is what was just done, None where the next
        unit begins or only the state changed.

        A watcher that raises is reported in the log and does not harm the job.
        """
        with self.reporting:
            self._sequence += 1
            if self._on_event is None:
                return
            try:
                self._on_event(self._event(unit, error))
            except Exception:
                _log.exception("the watcher of job %s failed", self.job_id)

    def _event(self, unit: Unit | None, error: WanTrtError | None) -> Event:
        step = unit.step if unit else None
        return Event(
            sequence=self._sequence,
            job_id=self.job_id,
            state=self.state,
            stage=unit.stage.value if unit else "",
            segment=unit.segment if unit else self.cursor.segment,
            segments=len(self.plan.segments),
            step=self._steps_done(unit),
            steps=self.schedule.steps,
            timestep=step.timestep if step else 0,
            expert=step.expert if step else None,
            frames=self._frames_written(unit),
            total_frames=self.plan.frame_count,
            elapsed_s=time.monotonic() - self._started if self._started is not None else 0.0,
            eta_s=self._eta(unit),
            error=error,
        )

    def _steps_done(self, unit: Unit | None) -> int:
        if unit is not None and unit.step is not None:
            return unit.step.index + 1
        stage = unit.stage if unit else self.cursor.stage
        if stage in (Stage.DECODE, Stage.RESULT):
            return self.schedule.steps
        return 0 if unit else self.cursor.step

    def _frames_written(self, unit: Unit | None) -> int:
        """Frames of the segments that are decoded."""
        stage = unit.stage if unit else self.cursor.stage
        done = self.cursor.segment
        if stage is Stage.RESULT or (unit is not None and stage is Stage.DECODE):
            done += 1
        return sum(segment.kept for segment in self.plan.segments[:done])

    def _eta(self, unit: Unit | None) -> float | None:
        if self.state.final:
            return 0.0 if self.state is JobState.DONE else None
        following = self.cursor if unit is None else self.following
        if following is None:
            return 0.0
        passes = [self.passes(self.step(index)) for index in range(self.schedule.steps)]
        return self.times.estimate(following.remaining(len(self.plan.segments), passes))


def describe(unit: Unit) -> str:
    """A unit in an error message: "segment 2, denoise step 7"."""
    step = f" step {unit.step.index}" if unit.step else ""
    return f"segment {unit.segment}, {unit.stage.value}{step}"
