"""What is told of jobs and of the engine's work on them: metrics, spans, and whose log lines."""

from __future__ import annotations

import copy
import logging
import threading
import time
from dataclasses import dataclass, replace

from wan_trt.engine.errors import AdmissionError, DeadlineError, ResourceError, WanTrtError
from wan_trt.engine.observer import Observer
from wan_trt.engine.request import Event, JobState
from wan_trt.engine.scheduling.costs import CostKey
from wan_trt.engine.scheduling.unit import Stage, Unit
from wan_trt.server.errors import UnavailableError
from wan_trt.server.status import kind_of
from wan_trt.server.telemetry.context import Work, now_at
from wan_trt.server.telemetry.log_format import FIELDS
from wan_trt.server.telemetry.metrics import Metrics
from wan_trt.server.telemetry.tracing import Attribute, StageSpan, Tracing

_log = logging.getLogger(__name__)


@dataclass
class _Watched:
    """A job that is not over. Times are nanoseconds since 1970; `begun_ns` is of the unit that
    runs."""

    work: Work
    queued_ns: int
    has_deadline: bool
    started: bool = False
    begun_ns: int = 0


class WatchedJobs(Observer):
    """Told by the server of its jobs, and by the engine of its units; any thread may call it."""

    def __init__(self, metrics: Metrics, tracing: Tracing) -> None:
        self._metrics = metrics
        self._tracing = tracing
        self._lock = threading.Lock()
        self._jobs: dict[str, _Watched] = {}
        self._last_step: Unit | None = None

    def of_engine(self) -> WatchedJobs:
        """The same, as one more engine tells it: which step is the one before is its own affair."""
        part = copy.copy(self)
        part._last_step = None
        return part

    def enter(self, job_id: str, work: Work, has_deadline: bool) -> None:
        """A job waits from now on: a new one, or one that is taken up again."""
        watched = _Watched(replace(work, job_id=job_id), time.time_ns(), has_deadline)
        with self._lock:
            self._jobs[job_id] = watched

    def refused(self, job_id: str, error: BaseException) -> None:
        """It was not let in."""
        with self._lock:
            self._jobs.pop(job_id, None)
        if isinstance(error, ResourceError):
            self._metrics.refused.labels(_reason(error)).inc()

    def noted(self, event: Event) -> None:
        """What the store and the watchers learn of a job. Its last event ends it here too."""
        if not event.state.final:
            return
        with self._lock:
            job = self._jobs.pop(event.job_id, None)
        if job is None:
            return
        self._metrics.finished.labels(event.state.value).inc()
        kind = kind_of(event.error).__name__ if isinstance(event.error, WanTrtError) else ""
        if event.state is JobState.FAILED:
            self._metrics.failures.labels(kind).inc()
        if job.has_deadline and event.state is JobState.DONE:
            self._metrics.deadlines.labels("hit").inc()
        elif isinstance(event.error, DeadlineError):
            self._metrics.deadlines.labels("miss").inc()
        told: dict[str, object] = {**job.work.told(), "seconds": round(event.elapsed_s, 3)}
        _log.log(
            logging.WARNING if event.state is JobState.FAILED else logging.INFO,
            "job %s",
            event.state.value,
            extra={FIELDS: told | ({"error": kind} if kind else {})},
        )

    def decided(self, seconds: float) -> None:
        self._metrics.decision_s.observe(seconds)

    def begins(self, unit: Unit) -> None:
        job = self._jobs.get(unit.job_id)
        if job is None:
            return
        now_at(job.work)
        job.begun_ns = time.time_ns()
        if not job.started:
            job.started = True
            self._metrics.queue_s.observe((job.begun_ns - job.queued_ns) / 1e9)
            self._span("queue", job, job.queued_ns, job.begun_ns, {})

    def ended(self, unit: Unit, key: CostKey, seconds: float, error: Exception | None) -> None:
        job = self._jobs.get(unit.job_id)
        if error is None and unit.step is not None:
            size = self._metrics.size(key.size)
            self._metrics.step_s.labels(key.engine, size, key.precision).observe(seconds)
            self._note_step(unit)
        elif error is None:
            self._metrics.stage_s.labels(unit.stage.value).observe(seconds)
        if job is not None and job.begun_ns:
            name = "step" if unit.stage is Stage.DENOISE else unit.stage.value
            kind = type(error).__name__ if error is not None else ""
            attributes = _attributes(unit, key)
            self._span(name, job, job.begun_ns, time.time_ns(), attributes, kind)
            job.begun_ns = 0
        now_at(Work())

    def kept(self, job_id: str, seconds: float, nbytes: int) -> None:  # noqa: ARG002
        self._metrics.checkpoint_s.observe(seconds)
        self._metrics.checkpoint_nbytes.inc(nbytes)

    def _note_step(self, unit: Unit) -> None:
        """Whether it interrupts another job, and whether it is the other expert's."""
        assert unit.step is not None
        last, self._last_step = self._last_step, unit
        if last is None or last.step is None:
            return
        if last.step.expert is not unit.step.expert:
            self._metrics.expert_switches.inc()
        more = last.step.next_sigma > 0 and last.job_id in self._jobs
        if last.job_id != unit.job_id and more:
            self._metrics.preemptions.inc()

    def _span(
        self,
        name: str,
        job: _Watched,
        start_ns: int,
        end_ns: int,
        attributes: dict[str, Attribute],
        error: str = "",
    ) -> None:
        attributes["wan_trt.job_id"] = job.work.job_id
        self._tracing.stage(
            StageSpan(name, job.work.traceparent, start_ns, end_ns, attributes, error)
        )


def _reason(error: ResourceError) -> str:
    if isinstance(error, AdmissionError):
        return "deadline"
    if isinstance(error, UnavailableError):
        return "stopping"
    return "quota" if kind_of(error).__name__ == "QuotaError" else "busy"


def _attributes(unit: Unit, key: CostKey) -> dict[str, Attribute]:
    attributes: dict[str, Attribute] = {
        "wan_trt.segment": unit.segment,
        "wan_trt.engine": key.engine,
        "wan_trt.size": f"{key.size.width}x{key.size.height}x{key.size.frames}",
    }
    if unit.step is not None:
        attributes["wan_trt.step"] = unit.step.index
        attributes["wan_trt.timestep"] = unit.step.timestep
        attributes["wan_trt.expert"] = unit.step.expert.value
    return attributes
