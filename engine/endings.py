"""How jobs end: done, failed or cancelled; or left to another engine."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from wan_trt.engine.crowding import CrowdedError
from wan_trt.engine.dispatch import Dispatcher
from wan_trt.engine.errors import CancelledError, DeadlineError, WanTrtError, without_frames
from wan_trt.engine.job import Job, SuspendedError
from wan_trt.engine.lanes import Lane
from wan_trt.engine.registry import JobRegistry
from wan_trt.engine.request import JobState
from wan_trt.engine.residence import Residence
from wan_trt.engine.space import Space
from wan_trt.engine.stages.pipeline import Pipeline

_log = logging.getLogger(__name__)


class Endings:
    """For the threads that step the engine."""

    def __init__(
        self,
        spaces: Mapping[Lane, Space],
        pipeline: Pipeline,
        dispatcher: Dispatcher,
        residence: Residence,
        registry: JobRegistry,
    ) -> None:
        self._spaces = spaces
        self._pipeline = pipeline
        self._dispatcher = dispatcher
        self._residence = residence
        self._registry = registry

    def done(self, job: Job) -> None:
        self._finish(job, JobState.DONE, None)

    def rest(self, job: Job) -> None:
        """No lane is at work on the job any more."""
        if job.keep is not None:
            job.keep.end_work()
        self._residence.leave(job)

    def end_early(self, lane: Lane) -> None:
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
                    self.end(job, without_frames(error))

    def _suspend(self, job: Job, lane: Lane) -> None:
        if job.keep is not None and job.tensors is not None and job.resume is None:
            cursor = job.cursor if job.pending is None else job.following
            assert cursor is not None, "the last unit is not kept"
            try:
                self._residence.enter(job, self._spaces[lane.parts[-1]])
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
        self._registry.notify()

    def end(self, job: Job, error: WanTrtError) -> None:
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
        self.rest(job)
        self._residence.forget(job)
        self._dispatcher.leave(job)
        self._registry.finish(job)
        self._registry.notify()  # a lane may have waited until it was gone
