"""The engine: jobs in, frames out, one unit of work at a time.

    with Engine(Bundle.open("bundle")) as engine:
        engine.generate(request, sink)

A server calls `submit` and `cancel` from any thread and `step` from one of its own.
"""

from __future__ import annotations

import errno
import logging
import threading
import time
import traceback
import uuid
from collections import OrderedDict
from types import TracebackType

from wan_trt.engine.backend import Backend
from wan_trt.engine.bundle import Bundle
from wan_trt.engine.errors import (
    CancelledError,
    ExecutionError,
    InputError,
    NotFoundError,
    ResourceError,
    WanTrtError,
    without_frames,
)
from wan_trt.engine.executors import Executors, Load
from wan_trt.engine.frames import FrameSink, OpenSink
from wan_trt.engine.host_backend import HostBackend
from wan_trt.engine.job import Job, JobSummary, OnEvent, describe
from wan_trt.engine.ort import available_threads
from wan_trt.engine.request import JobState, Request
from wan_trt.engine.scheduler import Scheduler, Unit
from wan_trt.engine.stages.pipeline import Pipeline
from wan_trt.engine.validation import validate_request

REMEMBERED_JOBS = 1000
THREADS_A_CORE = 4  # more only compete
_log = logging.getLogger(__name__)


class Engine:
    """Owns the executors of one bundle and the jobs that run on them."""

    def __init__(
        self,
        bundle: Bundle,
        threads: int | None = None,
        load: Load | None = None,
        backend: Backend | None = None,
    ) -> None:
        """Runs on `backend`, which the engine closes; None is the CPU, with `threads` for each
        graph (None: all cores that the process may use) and graphs from `load(bundle, graph,
        weight_set)` (None: ONNX Runtime). Graphs are loaded when they are first needed.

        Raises BundleError for a bundle that lacks graphs, InputError for a number of threads that
        no machine has use for."""
        bundle.require_all_graphs()
        most = THREADS_A_CORE * available_threads()
        if threads is not None and not 1 <= threads <= most:
            raise InputError(
                f"{threads}",
                expected=f"1 to {most}, {THREADS_A_CORE} for each core",
                action="leave it out for one thread a core",
                field="threads",
            )
        self.bundle = bundle
        self._backend = backend or HostBackend(threads, load)
        self._executors = Executors(bundle, self._backend.load)
        self._pipeline = Pipeline(bundle, self._executors, self._backend)
        self._scheduler = Scheduler()
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._finished: OrderedDict[str, JobSummary] = OrderedDict()
        self._changed = threading.Condition()  # guards the two dicts and `_closed`
        self._stepping = threading.Lock()
        self._closed = False

    def submit(
        self,
        request: Request,
        sink: FrameSink | OpenSink,
        on_event: OnEvent | None = None,
        job_id: str | None = None,
    ) -> str:
        """Queue a request and return its job's id. The engine closes the sink, or aborts it;
        the request's sources stay the caller's, who closes them after the final event.

        A function that opens the sink is called once the request is found valid: what it opens is
        the engine's from then on, even when this raises. What it raises goes to the caller.
        `on_event` is called here for the first event and by the stepping thread for all others.
        Raises InputError for a request that cannot be run (a sink is then untouched), and
        ResourceError when the engine is closed.
        """
        plan, schedule = validate_request(request, self.bundle.manifest)
        opened = sink() if callable(sink) else sink
        job = Job(
            job_id or uuid.uuid4().hex,
            request,
            opened,
            on_event,
            plan,
            schedule,
            self.bundle.manifest.boundary,
        )
        with job.reporting:  # nothing is reported before the arrival is
            try:
                self._register(job)
            except BaseException:
                if callable(sink):
                    opened.abort()
                raise
            job.emit()
        return job.job_id

    def _register(self, job: Job) -> None:
        with self._changed:
            if self._closed:
                raise ResourceError("the engine is closed", action="start another")
            if job.job_id in self._jobs or job.job_id in self._finished:
                raise InputError(f"{job.job_id} is taken", expected="a new id", field="job_id")
            self._jobs[job.job_id] = job
            self._changed.notify_all()

    def cancel(self, job_id: str) -> None:
        """End a job at its next chunk or step; no effect on a finished one. Raises NotFoundError.

        The sink is aborted and the final event comes from the stepping thread.
        """
        with self._changed:
            if job_id in self._jobs:
                self._jobs[job_id].cancel_requested = True
                self._changed.notify_all()
            elif job_id not in self._finished:
                raise _unknown(job_id)

    def summary(self, job_id: str) -> JobSummary:
        """State, error, and time and memory of each stage. Raises NotFoundError."""
        with self._changed:
            if job_id in self._jobs:
                return self._jobs[job_id].summary()
            if job_id in self._finished:
                return self._finished[job_id]
        raise _unknown(job_id)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Sleep until there is work, or the time is over; True if there is work."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or bool(self._jobs), timeout_s)
            return bool(self._jobs)

    def step(self) -> bool:
        """Do one unit of work of one job; False when there was none.

        Never raises for a job's sake: its errors end it, and go to its watcher and summary.
        """
        with self._stepping:
            self._backend.make_current()
            unit = self._schedule()
            if unit is None:
                return False
            job = self._jobs[unit.job_id]
            self._commit(job, unit, self._run(job, unit))
            return True

    def generate(
        self, request: Request, sink: FrameSink | OpenSink, on_event: OnEvent | None = None
    ) -> JobSummary:
        """Submit and step until the job is done. Raises the error that ended it.

        An interrupt (Ctrl-C) cancels the job before it goes on to the caller.
        """
        job_id = uuid.uuid4().hex
        try:
            self.submit(request, sink, on_event, job_id)
            job = self._jobs[job_id]
            while not job.state.final:
                self.step()
        except BaseException:
            if unfinished := self._jobs.get(job_id):
                self._end(unfinished, CancelledError(f"job {job_id} was interrupted"))
            raise
        if job.error is not None:
            raise without_frames(job.error)  # the summary's own must not learn of our frames
        return job.summary()

    def close(self) -> None:
        """Cancel what is unfinished and release the graphs; may be called again."""
        with self._changed:
            self._closed = True
            for job in self._jobs.values():
                job.cancel_requested = True
            self._changed.notify_all()
        with self._stepping:
            self._backend.make_current()
            self._end_cancelled()
            self._executors.close()
            self._backend.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _schedule(self) -> Unit | None:
        self._end_cancelled()
        with self._changed:
            units = [job.unit for job in self._jobs.values()]
        return self._scheduler.next(units)

    def _run(self, job: Job, unit: Unit) -> WanTrtError | None:
        """Do the unit; the error that it ended with, typed."""
        job.begin()
        started = time.perf_counter()
        try:
            self._pipeline.run(unit, job)
        except Exception as error:
            return _typed(error, unit)
        passes = job.passes(unit.step) if unit.step else 1
        job.times.record(unit.stage, time.perf_counter() - started, passes)
        return None

    def _commit(self, job: Job, unit: Unit, error: WanTrtError | None) -> None:
        """Report the unit and move on, or end the job."""
        if error is not None:
            self._end(job, error)
            return
        job.emit(unit)
        if (following := job.following) is not None:
            job.cursor = following
            return
        try:
            job.sink.close()
        except Exception as failure:
            self._end(job, _typed(failure, unit))
        else:
            self._finish(job, JobState.DONE, None)

    def _end_cancelled(self) -> None:
        with self._changed:
            cancelled = [job for job in self._jobs.values() if job.cancel_requested]
        for job in cancelled:
            self._end(job, CancelledError(f"job {job.job_id} was cancelled"))

    def _end(self, job: Job, error: WanTrtError) -> None:
        """End a job early: nothing of it stays behind."""
        try:
            job.sink.abort()
        except Exception:
            _log.exception("the sink of job %s failed to abort", job.job_id)
        cancelled = isinstance(error, CancelledError)
        self._finish(job, JobState.CANCELLED if cancelled else JobState.FAILED, error)

    def _finish(self, job: Job, state: JobState, error: WanTrtError | None) -> None:
        job.finish(state, error)
        with self._changed:
            self._jobs.pop(job.job_id, None)
            self._finished[job.job_id] = job.summary()
            while len(self._finished) > REMEMBERED_JOBS:
                self._finished.popitem(last=False)


def _unknown(job_id: str) -> NotFoundError:
    return NotFoundError(f"no job {job_id!r}", action="check the id; old jobs are forgotten")


def _typed(error: Exception, unit: Unit) -> WanTrtError:
    """Any failure of a job as one of the tree's errors, to keep: without a traceback or a cause,
    which go to the log."""
    if isinstance(error, WanTrtError):
        _note(logging.DEBUG, error, unit)
        return without_frames(error)
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or isinstance(error, MemoryError):
        _note(logging.DEBUG, error, unit)
        return ResourceError(
            f"{describe(unit)}: {error or 'out of memory'}",
            action="make room, or use another machine",
        )
    _note(logging.ERROR, error, unit)
    return ExecutionError(
        f"{describe(unit)}: {type(error).__name__}: {error}",
        action="report this with the request",
    )


def _note(level: int, error: Exception, unit: Unit) -> None:
    """Log a job's failure as text: a handler that keeps records must not keep frames."""
    text = "".join(traceback.format_exception(error))
    _log.log(level, "job %s, %s\n%s", unit.job_id, describe(unit), text)
