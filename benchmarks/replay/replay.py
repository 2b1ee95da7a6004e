"""A trace in real time: jobs arrive from a thread of their own, as at a server, and one a lane
steps."""

from __future__ import annotations

import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from replay.jobs import TimedFrames
from simulation.simulate import Outcome
from simulation.traces import TracedJob
from wan_trt.engine.engine import Engine
from wan_trt.engine.errors import AdmissionError, DeadlineError
from wan_trt.engine.lanes import Lane
from wan_trt.engine.memory.footprint import VideoSize
from wan_trt.engine.request import AnimateRequest, Event, JobState
from wan_trt.engine.scheduling.unit import Stage

_LOOK_AGAIN_S = 0.05


@dataclass(frozen=True)
class DoneUnit:
    """`seconds` of `Engine.step`: the decision and the news are among them."""

    job_id: str
    stage: Stage
    size: VideoSize
    seconds: float


@dataclass
class Replayed:
    """`outcome` counts seconds from the trace's beginning; `digests` are of the finished jobs."""

    outcome: Outcome = field(default_factory=Outcome)
    units: list[DoneUnit] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)


class Replay:
    """One use of an engine that has nothing else to do."""

    def __init__(
        self, engine: Engine, trace: Sequence[TracedJob], requests: Mapping[str, AnimateRequest]
    ) -> None:
        self._engine = engine
        self._trace = trace
        self._requests = requests
        self._sinks: dict[str, TimedFrames] = {}
        self._ended: dict[str, Event] = {}
        self._done: dict[int, list[tuple[str, Stage]]] = defaultdict(list)  # by thread
        self._replayed = Replayed()
        self._began_s = 0.0

    def run(self, deadlines: bool) -> Replayed:
        """Without `deadlines` the engine is told of none, and every job runs to its end. Raises
        RuntimeError where a job failed, other than by being late."""
        self._began_s = time.perf_counter()
        with ThreadPoolExecutor(1 + len(self._engine.lanes)) as threads:
            coming = threads.submit(self._arrive, deadlines)
            lanes = [threads.submit(self._run, lane, coming) for lane in self._engine.lanes]
            for thread in (coming, *lanes):
                thread.result()
        for job_id, event in self._ended.items():
            if event.state is not JobState.DONE and job_id not in self._replayed.outcome.late:
                raise RuntimeError(f"{job_id} {event.state}: {event.error}")
        outcome = self._replayed.outcome
        outcome.end_s = max(outcome.finished_s.values(), default=0.0)
        outcome.units = len(self._replayed.units)
        jobs = [unit.job_id for unit in self._replayed.units]
        changes = sum(before != after for before, after in itertools.pairwise(jobs))
        outcome.changes = changes - max(0, len(set(jobs)) - 1)
        self._replayed.digests = {
            job_id: self._sinks[job_id].digest() for job_id in outcome.finished_s
        }
        return self._replayed

    def _arrive(self, deadlines: bool) -> None:
        for job in self._trace:
            time.sleep(max(0.0, self._began_s + job.arrival_s - time.perf_counter()))
            deadline = None
            if deadlines and job.deadline_s is not None:
                left_s = self._began_s + job.deadline_s - time.perf_counter()
                deadline = time.time() + left_s
            sink = self._sinks[job.job_id] = TimedFrames()
            try:
                self._engine.submit(
                    self._requests[job.job_id],
                    sink,
                    partial(self._watch, job.job_id),
                    deadline=deadline,
                    owner=job.owner,
                )
            except AdmissionError as error:
                possible_s = time.perf_counter() - self._began_s + error.possible_in_s
                self._replayed.outcome.refused[job.job_id] = possible_s

    def _live(self) -> bool:
        return len(self._ended) + len(self._replayed.outcome.refused) < len(self._trace)

    def _run(self, lane: Lane, coming: Future[None]) -> None:
        while not coming.done() or (coming.exception() is None and self._live()):
            self._step(lane)

    def _step(self, lane: Lane) -> None:
        done = self._done[threading.get_ident()]
        known = len(done)
        began_s = time.perf_counter()
        if not self._engine.step(lane):
            self._engine.wait(_LOOK_AGAIN_S, lane)
            return
        seconds = time.perf_counter() - began_s
        for job_id, stage in done[known:]:
            request = self._requests[job_id]
            size = VideoSize(request.height, request.width, request.segment_frames)
            self._replayed.units.append(DoneUnit(job_id, stage, size, seconds))

    def _watch(self, job_id: str, event: Event) -> None:
        if event.stage:
            self._done[threading.get_ident()].append((job_id, Stage(event.stage)))
        if not event.state.final:
            return
        if event.state is JobState.DONE:
            finished_s = time.perf_counter() - self._began_s
            self._replayed.outcome.finished_s[job_id] = finished_s
        elif isinstance(event.error, DeadlineError):
            self._replayed.outcome.late.add(job_id)
        self._ended[job_id] = event
