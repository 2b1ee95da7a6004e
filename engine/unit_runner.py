"""Does a unit of work, and what comes of it: kept, reported, gone on; or a pause, or an end."""

from __future__ import annotations

import logging
import time

from wan_trt.engine.crowding import CrowdedError, Crowding
from wan_trt.engine.dispatch import Dispatcher, Turn
from wan_trt.engine.endings import Endings
from wan_trt.engine.errors import StorageFullError, WanTrtError
from wan_trt.engine.failures import typed_failure
from wan_trt.engine.job import Job, SuspendedError
from wan_trt.engine.lanes import Lane
from wan_trt.engine.observer import Observer, tell
from wan_trt.engine.one_expert import ExpertSwitch
from wan_trt.engine.preview import preview_pictures
from wan_trt.engine.residence import Residence
from wan_trt.engine.scheduling.unit import Stage, Unit
from wan_trt.engine.stages.pipeline import Pipeline

_log = logging.getLogger(__name__)


class UnitRunner:
    """For the threads that step the engine."""

    def __init__(
        self,
        pipeline: Pipeline,
        dispatcher: Dispatcher,
        residence: Residence,
        experts: ExpertSwitch,
        endings: Endings,
    ) -> None:
        self._pipeline = pipeline
        self._dispatcher = dispatcher
        self._residence = residence
        self._experts = experts
        self._endings = endings
        self._crowding = Crowding()
        self.observer = Observer()
        self.worked = False
        """Whether a unit has begun since this was last set to False."""

    def do_next(self, lane: Lane) -> bool:
        """Do the unit whose turn it is in a lane; again, alone, where it found no room beside
        another. False where there is none."""
        turn = None
        try:
            with self._crowding.side_by_side():
                turn = self._next(lane)
                if turn is None:
                    return False
                self.worked = True
                self._do(turn)
        except CrowdedError:
            assert turn is not None, "only units want memory"
            with self._crowding.alone():
                self._do(turn, again=True)
        return True

    def _next(self, lane: Lane) -> Turn | None:
        started = time.perf_counter()
        turn = self._dispatcher.next(lane)
        tell(self.observer.decided, time.perf_counter() - started)
        return turn

    def _do(self, turn: Turn, again: bool = False) -> None:
        """Do a job's unit, keep and report what it brought forth, and move on. Raises CrowdedError
        where the unit is to be done again, alone."""
        job, unit = turn.job, turn.unit
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
            if turn.decision is not None:
                self._experts.bring(turn.decision)
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

    def _commit(
        self, turn: Turn, error: WanTrtError | SuspendedError | None, seconds: float
    ) -> None:
        """Report what the unit brought forth and move on; or wait, or end the job. At the end the
        job is another lane's."""
        job, unit = turn.job, turn.unit
        match error:
            case None if unit.stage is Stage.RESULT:
                self._endings.done(job)
            case None:
                job.advance(unit)
                self._show(job, unit)
                self._endings.rest(job)
                self._dispatcher.done(turn, seconds)
            case SuspendedError():  # the unit is to be done again, by another engine
                self._endings.rest(job)
                self._dispatcher.give_back(job)
            case StorageFullError():
                job.pause(error)
                self._endings.rest(job)
                self._dispatcher.pause(turn, seconds)
            case _:
                self._endings.end(job, error)

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
        """Make the previews that were asked for. What goes wrong with them is no harm to the job,
        and none to the engine; whoever waits gets those of the next step."""
        if unit.stage is Stage.DENOISE and job.previews:
            try:
                job.previews.answer(preview_pictures(self._pipeline.clean_estimate(job)))
            except Exception:
                _log.exception("no preview of job %s", job.job_id)
