"""What a job's watcher is told: events, with frames that are written and the time that is left."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from wan_trt.engine.cursor import Cursor
from wan_trt.engine.errors import WanTrtError
from wan_trt.engine.request import Event, JobState
from wan_trt.engine.schedule import Schedule
from wan_trt.engine.scheduling.unit import Stage, Unit
from wan_trt.engine.segments import SegmentPlan
from wan_trt.engine.timing import StageTimes

OnEvent = Callable[[Event], None]
_log = logging.getLogger(__name__)


class Standing(Protocol):
    """What events say of a job; see Job."""

    job_id: str
    state: JobState
    plan: SegmentPlan
    schedule: Schedule
    cursor: Cursor
    times: StageTimes

    @property
    def following(self) -> Cursor | None: ...

    @property
    def segment_passes(self) -> Sequence[int]: ...


class Reports:
    """Of one job, to its watcher: numbered, one at a time."""

    def __init__(self, on_event: OnEvent | None) -> None:
        self._on_event = on_event
        self._sequence = 0
        self._began_s: float | None = None
        self.lock = threading.RLock()
        """Nothing is told while another thread holds it."""

    def begin(self) -> None:
        """The job's first unit starts: time is counted from here."""
        self._began_s = time.monotonic()

    def tell(
        self, job: Standing, unit: Unit | None = None, error: WanTrtError | None = None
    ) -> None:
        """Where the job stands; `unit` is what was just done, None where the next unit begins or
        only the state changed.

        A watcher that raises is reported in the log and does not harm the job.
        """
        with self.lock:
            self._sequence += 1
            if self._on_event is None:
                return
            try:
                self._on_event(self._event(job, unit, error))
            except Exception:
                _log.exception("the watcher of job %s failed", job.job_id)

    def _event(self, job: Standing, unit: Unit | None, error: WanTrtError | None) -> Event:
        step = unit.step if unit else None
        return Event(
            sequence=self._sequence,
            job_id=job.job_id,
            state=job.state,
            stage=unit.stage.value if unit else "",
            segment=unit.segment if unit else job.cursor.segment,
            segments=len(job.plan.segments),
            step=_steps_done(job, unit),
            steps=job.schedule.steps,
            timestep=step.timestep if step else 0,
            expert=step.expert if step else None,
            frames=_frames_written(job, unit),
            total_frames=job.plan.frame_count,
            elapsed_s=time.monotonic() - self._began_s if self._began_s is not None else 0.0,
            eta_s=_left_s(job, unit),
            error=error,
        )


def _steps_done(job: Standing, unit: Unit | None) -> int:
    """Of this segment."""
    if unit is not None and unit.step is not None:
        return unit.step.index + 1
    stage = unit.stage if unit else job.cursor.stage
    if stage in (Stage.DECODE, Stage.RESULT):
        return job.schedule.steps
    return 0 if unit else job.cursor.step


def _frames_written(job: Standing, unit: Unit | None) -> int:
    """Frames of the segments that are decoded."""
    stage = unit.stage if unit else job.cursor.stage
    done = job.cursor.segment
    if stage is Stage.RESULT or (unit is not None and stage is Stage.DECODE):
        done += 1
    return sum(segment.kept for segment in job.plan.segments[:done])


def _left_s(job: Standing, unit: Unit | None) -> float | None:
    """Seconds until the job is done, by what its stages took so far; None where nobody knows."""
    if job.state.final:
        return 0.0 if job.state is JobState.DONE else None
    following = job.cursor if unit is None else job.following
    if following is None:
        return 0.0
    remaining = following.remaining(len(job.plan.segments), job.segment_passes)
    return job.times.estimate(remaining)
