"""The engine: jobs in, frames out, one unit of work at a time in each lane.

    with Engine(Bundle.open("bundle")) as engine:
        engine.generate(request, sink)

A server calls `submit` and `cancel` from any thread, and `step` from one of its own for each of
`Engine.lanes`.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.backend import Backend
from wan_trt.engine.bundle import Bundle
from wan_trt.engine.checkpoint import Checkpoint, Checkpoints
from wan_trt.engine.crowding import CrowdedError, Crowding
from wan_trt.engine.dispatch import Dispatcher, SchedulingOptions, Turn
from wan_trt.engine.errors import (
    CancelledError,
    DeadlineError,
    InputError,
    StorageFullError,
    WanTrtError,
    without_frames,
)
from wan_trt.engine.executors import Executors, Load
from wan_trt.engine.failures import typed_failure
from wan_trt.engine.frames import FrameSink, OpenSink
from wan_trt.engine.host_backend import HostBackend
from wan_trt.engine.job import Job, JobSummary, OnEvent, SuspendedError
from wan_trt.engine.lanes import APART, Lane
from wan_trt.engine.memory.in_use import MemoryInUse
from wan_trt.engine.observer import Observer, tell
from wan_trt.engine.one_expert import ReadAhead, one_expert
from wan_trt.engine.ort import available_threads
from wan_trt.engine.preview import preview_pictures
from wan_trt.engine.registry import JobRegistry, Moment
from wan_trt.engine.request import JobState, Request
from wan_trt.engine.residence import Residence
from wan_trt.engine.scheduling.costs import CostKey
from wan_trt.engine.scheduling.unit import Stage, Unit
from wan_trt.engine.stages.job_memory import require_room
from wan_trt.engine.stages.pipeline import Pipeline
from wan_trt.engine.validation import validate_request

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
        scheduling: SchedulingOptions | None = None,
    ) -> None:
        """Runs on `backend`, which the engine closes; None is the CPU, with `threads` for each
        graph (None: all cores that the process may use) and graphs from `load(bundle, graph,
        weight_set)` (None: ONNX Runtime). Graphs are loaded when they are first needed.
        `scheduling` says whose turn it is, see docs/scheduling.md.

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
        self._dispatcher = Dispatcher(
            bundle,
            self._backend.name,
            scheduling or SchedulingOptions(),
            one_expert(bundle, self._backend.experts_nbytes),
        )
        self._read_ahead = ReadAhead()
        self._residence = Residence(self._backend)
        self._registry = JobRegistry()
        self.observer = Observer()
        """Told of the work; another one may be put here before the first step."""
        self._crowding = Crowding()
        self._stepping = {lane: threading.Lock() for lane in APART}
        self._idle: dict[Lane, Moment] = {}
        self._checked = True

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """What may be stepped at the same time, by a thread each."""
        return self._backend.lanes

    def submit(
        self,
        request: Request,
        sink: FrameSink | OpenSink,
        on_event: OnEvent | None = None,
        job_id: str | None = None,
        *,
        keep: Checkpoints | None = None,
        resume: Checkpoint | None = None,
        deadline: float | None = None,
        owner: str = "",
        priority: float = 1.0,
    ) -> str:
        """Queue a request and return its job's id. The engine closes the sink, or aborts it;
        the request's sources stay the caller's, who closes them after the final event.

        `keep` is given checkpoints; `resume`, the last one that was kept of the same request,
        lets the job go on from there: the sink then receives the frames that are still missing.
        A job that is not done by `deadline` (seconds since 1970) ends with a DeadlineError; one
        that cannot be is not let in. `owner` is on whose account it goes, `priority` a positive
        weight: what they do depends on the policy.

        A function that opens the sink is called once the request is found valid: what it opens is
        the engine's from then on, even when this raises. What it raises goes to the caller.
        `on_event` is called here for the first event and by stepping threads for all others.
        Raises InputError for a request that cannot be run (a sink is then untouched),
        AdmissionError where the deadline cannot be met, ResourceError for a job that would not fit
        if it were alone (a sink is then untouched, too), or when the engine is closed.
        """
        manifest = self.bundle.manifest
        plan, schedule = validate_request(request, manifest)
        require_room(request, schedule, manifest, self._backend.memory.arena)
        opened = sink() if callable(sink) else sink
        job = Job(
            job_id or uuid.uuid4().hex,
            request,
            opened,
            on_event,
            plan,
            schedule,
            manifest.boundary,
            resume,
            keep,
            deadline,
            owner,
            priority,
        )
        with job.reporting:  # nothing is reported before the arrival is
            try:
                self._registry.add(job, self._dispatcher.enter)
            except BaseException:
                if callable(sink):
                    opened.abort()
                raise
            job.emit()
        return job.job_id

    def cancel(self, job_id: str) -> None:
        """End a job at its next chunk or step; no effect on a finished one. Raises NotFoundError.

        The sink is aborted and the final event comes from a stepping thread.
        """
        self._registry.cancel(job_id)

    def summary(self, job_id: str) -> JobSummary:
        """State, error, and time and memory of each stage. Raises NotFoundError."""
        return self._registry.summary(job_id)

    def preview(self, job_id: str) -> Future[NDArray[np.uint8]]:
        """Small pictures of what a job's next denoising step brings forth, uint8
        [F, height / 8, width / 8, 3]; see `preview_pictures`. Cancelled when the job ends before.
        Raises NotFoundError for a job that is over or unknown."""
        return self._registry.live_job(job_id).ask_for_preview()

    def learn_costs(self, known: Mapping[CostKey, float]) -> None:
        """Begin with the seconds that units of this bundle took in an earlier process, which
        `measured_costs` gave there: deadlines can then be promised from the first job on. What
        was measured on another device is left out."""
        self._dispatcher.learn_costs(known)

    def measured_costs(self) -> dict[CostKey, float]:
        """What another process may begin with; also after `close`."""
        return self._dispatcher.measured_costs()

    @property
    def memory_in_use(self) -> MemoryInUse:
        """For any thread."""
        held = [job.tensors.holding for job in self._registry.live() if job.tensors is not None]
        parked_nbytes = sum(holding.nbytes for holding in held if holding.parked)
        return MemoryInUse(self._backend.memory.arena.usage, parked_nbytes)

    def wait(self, timeout_s: float | None = None, lane: Lane = Lane.EVERY) -> bool:
        """Sleep until `step` may have something to do in a lane, or the time is over; True if it
        may."""
        return self._registry.wait(timeout_s, self._idle.get(lane))

    def step(self, lane: Lane = Lane.EVERY) -> bool:
        """Do one unit of work of one job in a lane, one of `lanes` or EVERY; False when there was
        none.

        Never raises for a job's sake: its errors end it, and go to its watcher and summary.
        """
        with self._occupied(lane):
            moment = self._registry.now()
            self._end_early(lane)
            turn = None
            try:
                with self._crowding.side_by_side():
                    turn = self._next(lane)
                    if turn is not None:
                        self._do(turn)
            except CrowdedError:
                assert turn is not None, "only units want memory"
                with self._crowding.alone():
                    self._do(turn, again=True)
            if turn is None:
                self._idle[lane] = moment
                self._check_books()
                return False
            self._registry.notify()
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
            job = self._registry.live_job(job_id)
            while not job.state.final:
                if not self.step() and not job.state.final:
                    self.wait()
        except BaseException:
            if unfinished := self._registry.find(job_id):
                self._end(unfinished, CancelledError(f"job {job_id} was interrupted"))
            raise
        if job.error is not None:
            raise without_frames(job.error)  # the summary's own must not learn of our frames
        return job.summary()

    def close(self) -> None:
        """Cancel what is unfinished and release the graphs; may be called again."""
        self._stop(suspend=False)

    def suspend(self) -> None:
        """Close, but leave jobs that keep checkpoints to another engine: the newest one is kept,
        their last event says that they are queued, and their sinks are aborted."""
        self._stop(suspend=True)

    def _stop(self, suspend: bool) -> None:
        self._registry.close(suspend)
        with self._occupied(Lane.EVERY):
            self._end_early(Lane.EVERY)
            self._executors.close()
            self._backend.close()

    @contextmanager
    def _occupied(self, lane: Lane) -> Iterator[None]:
        """Nobody else steps it meanwhile, or closes the engine."""
        with ExitStack() as held:
            for part in lane.parts:
                held.enter_context(self._stepping[part])
            self._backend.make_current()
            yield

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _check_books(self) -> None:
        """Once after the last unit: no page is lost or owned twice, every job is in one place. What
        is wrong goes to the log; it is a bug, but the jobs so far are right."""
        if self._checked or not self._dispatcher.idle:
            return
        self._checked = True
        try:
            self._backend.memory.arena.check()
            self._dispatcher.check()
        except AssertionError:
            _log.exception("the engine's books are wrong: report this, and start it again")

    def _next(self, lane: Lane) -> Turn | None:
        started = time.perf_counter()
        turn = self._dispatcher.next(lane)
        tell(self.observer.decided, time.perf_counter() - started)
        return turn

    def _do(self, turn: Turn, again: bool = False) -> None:
        """Do a job's unit, keep and report what it brought forth, and move on. Raises CrowdedError
        where the unit is to be done again, alone."""
        job, unit = turn.job, turn.unit
        self._checked = False
        loading_s = self._pipeline.loading_s(unit.stage)
        started = time.perf_counter()
        try:
            pending = job.pending is not None
            if not pending and not again:
                job.begin()
            if not pending:
                tell(self.observer.begins, unit)
            error = self._run(turn)
            loading_s -= self._pipeline.loading_s(unit.stage)
            seconds = time.perf_counter() - started + loading_s
            if not pending:
                tell(self.observer.ended, unit, self._dispatcher.key(job, unit), seconds, error)
            self._commit(turn, error or self._keep(job, unit), seconds)
        except CrowdedError:
            raise
        except BaseException:  # an interrupt in a watcher: who steps may end the job
            self._residence.leave(job)
            self._dispatcher.give_back(job)
            raise

    def _run(self, turn: Turn) -> WanTrtError | SuspendedError | None:
        """Do the unit, but for one that is done and only has to be kept; the error that it ended
        with, typed."""
        job, unit = turn.job, turn.unit
        started = time.perf_counter()
        try:
            self._residence.enter(job, self._pipeline.space_of(unit.stage))
            if job.pending is not None:
                return None
            if job.keep is not None:
                if job.keep.suspected and not self._crowding.sole:
                    raise CrowdedError
                job.keep.begin_work()
            self._bring_expert(turn)
            self._pipeline.run(unit, job)
        except CrowdedError:
            self._residence.leave(job)
            raise
        except SuspendedError as error:
            return error
        except Exception as error:
            return typed_failure(error, unit)
        passes = job.passes(unit.step) if unit.step else 1
        job.times.record(unit.stage, time.perf_counter() - started, passes)
        return None

    def _bring_expert(self, turn: Turn) -> None:
        """Where one expert is in memory at a time: what the decision says of them."""
        if turn.decision is None:
            return
        if (expert := turn.decision.load) is not None:
            self._backend.spaces[Lane.DENOISING].wait()  # the last step may still run
            for job in self._registry.live():
                if (tensors := job.tensors) is not None:  # it may end beside
                    tensors.denoiser.keep_only(expert)
            self._executors.keep_only(expert)
        if (expert := turn.decision.prefetch) is not None:
            self._read_ahead.begin(self.bundle.expert_files(expert))

    def _commit(
        self, turn: Turn, error: WanTrtError | SuspendedError | None, seconds: float
    ) -> None:
        """Report what the unit brought forth and move on; or wait, or end the job. At the end the
        job is another lane's."""
        job, unit = turn.job, turn.unit
        match error:
            case None if unit.stage is Stage.RESULT:
                self._finish(job, JobState.DONE, None)
            case None:
                job.advance(unit)
                self._show(job, unit)
                self._rest(job)
                self._dispatcher.done(turn, seconds)
            case SuspendedError():  # the unit is to be done again, by another engine
                self._rest(job)
                self._dispatcher.give_back(job)
            case StorageFullError():
                job.pause(error)
                self._rest(job)
                self._dispatcher.pause(turn, seconds)
            case _:
                self._end(job, error)

    def _rest(self, job: Job) -> None:
        """No lane is at work on the job any more."""
        if job.keep is not None:
            job.keep.end_work()
        self._residence.leave(job)

    def _keep(self, job: Job, unit: Unit) -> WanTrtError | None:
        """Keep a checkpoint where one is due. The unit is pending until that is done."""
        job.pending = unit
        following = job.following
        if job.keep is not None and following is not None and job.keep_due(unit):
            try:
                started, checkpoint = time.perf_counter(), self._pipeline.snapshot(following, job)
                job.keep.save(checkpoint)
            except Exception as error:
                return typed_failure(error, unit)
            seconds = time.perf_counter() - started
            tell(self.observer.kept, job.job_id, seconds, checkpoint.nbytes)
        job.pending = None
        return None

    def _show(self, job: Job, unit: Unit) -> None:
        """Make the previews that were asked for."""
        if unit.stage is Stage.DENOISE and job.preview_wanted:
            job.show(preview_pictures(self._pipeline.clean_estimate(job)))

    def _end_early(self, lane: Lane) -> None:
        """End, or leave to another engine, the jobs that are not to go on. One whose unit runs in
        another lane is that lane's to end."""
        for job in self._registry.live():
            try:
                job.check()
            except SuspendedError:
                if self._dispatcher.claim(job):
                    self._suspend(job, lane)
            except (CancelledError, DeadlineError) as error:
                if self._dispatcher.claim(job):
                    self._end(job, without_frames(error))

    def _suspend(self, job: Job, lane: Lane) -> None:
        if job.keep is not None and job.tensors is not None and job.resume is None:
            cursor = job.cursor if job.pending is None else job.following
            assert cursor is not None, "the last unit is not kept"
            try:
                self._residence.enter(job, self._backend.spaces[lane.parts[-1]])
                job.keep.save(self._pipeline.snapshot(cursor, job))
            except CrowdedError:  # later, or when nothing runs any more
                self._dispatcher.give_back(job)
                return
            except Exception:  # the one before is still there
                _log.exception("job %s goes back to its last checkpoint", job.job_id)
            finally:
                self._residence.leave(job)
        self._abort(job)
        job.finish(JobState.QUEUED)
        self._residence.forget(job)
        self._dispatcher.leave(job)
        self._registry.drop(job)

    def _end(self, job: Job, error: WanTrtError) -> None:
        """End a job early: nothing of it stays behind."""
        self._abort(job)
        cancelled = isinstance(error, CancelledError)
        self._finish(job, JobState.CANCELLED if cancelled else JobState.FAILED, error)

    def _abort(self, job: Job) -> None:
        try:
            job.sink.abort()
        except Exception:
            _log.exception("the sink of job %s failed to abort", job.job_id)

    def _finish(self, job: Job, state: JobState, error: WanTrtError | None) -> None:
        job.finish(state, error)
        self._rest(job)
        self._residence.forget(job)
        self._dispatcher.leave(job)
        self._registry.finish(job)
