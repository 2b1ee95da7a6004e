"""The engine: jobs in, frames out, one unit of work at a time in each lane.

    with Engine(Bundle.open("bundle")) as engine:
        engine.generate(request, sink)

A server calls `submit` and `cancel` from any thread, and `step` from one of its own for each of
`Engine.lanes`.
"""

from __future__ import annotations

import logging
import threading
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
from wan_trt.engine.dispatch import Dispatcher, SchedulingOptions
from wan_trt.engine.endings import Endings
from wan_trt.engine.errors import (
    CancelledError,
    without_frames,
)
from wan_trt.engine.executors import Executors, Load
from wan_trt.engine.frames import FrameSink, OpenSink
from wan_trt.engine.host_backend import HostBackend
from wan_trt.engine.job import Job, JobSummary
from wan_trt.engine.lanes import APART, Lane
from wan_trt.engine.memory.in_use import MemoryInUse
from wan_trt.engine.observer import Observer
from wan_trt.engine.one_expert import ExpertSwitch, one_expert
from wan_trt.engine.registry import JobRegistry, Moment
from wan_trt.engine.reporting import OnEvent
from wan_trt.engine.request import Request
from wan_trt.engine.residence import Residence
from wan_trt.engine.scheduling.costs import CostKey
from wan_trt.engine.stages.job_memory import require_room
from wan_trt.engine.stages.job_runs import job_runs
from wan_trt.engine.stages.pipeline import Pipeline
from wan_trt.engine.threads import require_sane_threads
from wan_trt.engine.unit_runner import UnitRunner
from wan_trt.engine.validation import validate_request

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
        require_sane_threads(threads)
        self.bundle = bundle
        self._backend = backend or HostBackend(threads, load)
        self._executors = Executors(bundle, self._backend.load)
        pipeline = Pipeline(bundle, self._executors, self._backend)
        self._dispatcher = Dispatcher(
            bundle,
            self._backend.name,
            scheduling or SchedulingOptions(),
            one_expert(bundle, self._backend.experts_nbytes),
        )
        self._registry = JobRegistry()
        self._experts = ExpertSwitch(bundle, self._backend, self._executors, self._registry)
        residence = Residence(self._backend)
        self._endings = Endings(
            self._backend.spaces, pipeline, self._dispatcher, residence, self._registry
        )
        self._units = UnitRunner(
            pipeline, self._dispatcher, residence, self._experts, self._endings
        )
        self._stepping = {lane: threading.Lock() for lane in APART}
        self._idle: dict[Lane, Moment] = {}

    @property
    def observer(self) -> Observer:
        """Told of the work; another one may be put here before the first step."""
        return self._units.observer

    @observer.setter
    def observer(self, observer: Observer) -> None:
        self._units.observer = observer

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
        if it were alone or whose size nothing here runs (a sink is then untouched, too), or when
        the engine is closed.
        """
        manifest = self.bundle.manifest
        plan, schedule = validate_request(request, manifest)
        require_room(request, schedule, manifest, self._backend.memory.arena)
        self._backend.require_served(job_runs(request, plan, schedule, manifest))
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
        with job.reports.lock:  # nothing is reported before the arrival is
            try:
                self._registry.add(job, self._dispatcher.enter)
            except BaseException:
                if callable(sink):
                    opened.abort()
                raise
            job.reports.tell(job)
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
        return self._registry.live_job(job_id).previews.ask()

    def learn_costs(self, known: Mapping[CostKey, float]) -> None:
        """Begin with the seconds that units of this bundle took in an earlier process, which
        `measured_costs` gave there: deadlines can then be promised from the first job on. What
        was measured on another device is left out."""
        self._dispatcher.learn_costs(known)

    def measured_costs(self) -> dict[CostKey, float]:
        """What another process may begin with; also after `close`."""
        return self._dispatcher.measured_costs()

    def load(self) -> None:
        """Load all graphs now, where a job's first unit would do it: what cannot be loaded is found
        before a job is taken. Never more at a time than jobs need. Of plans for several sizes, the
        largest one's are loaded. Raises BundleError or ResourceError."""
        with self._occupied(Lane.EVERY):
            self._experts.load_all()

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
            self._endings.end_early(lane)
            if not self._units.do_next(lane):
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
                self._endings.end(unfinished, CancelledError(f"job {job_id} was interrupted"))
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
            self._endings.end_early(Lane.EVERY)
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
        if not self._units.worked or not self._dispatcher.idle:
            return
        self._units.worked = False
        try:
            self._backend.memory.arena.check()
            self._dispatcher.check()
        except AssertionError:
            _log.exception("the engine's books are wrong: report this, and start it again")
