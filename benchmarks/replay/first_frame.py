"""When the first frame of a short job comes that arrives while a long one runs."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from replay.jobs import FEATURE, PREVIEW, TimedFrames, make_request
from wan_trt.engine.engine import Engine
from wan_trt.engine.request import Event
from wan_trt.engine.scheduling.unit import Stage

SEGMENTS = 2
DONE_BEFORE = (3, 6, 9, 12, 15, 18, 21, 22)
"""Units of the long job that are done when the short one comes: it meets a step six times, then
decoding, then the conditioning of the second segment."""


@dataclass(frozen=True)
class _Unit:
    """Of the long job."""

    stage: Stage
    began_s: float
    ended_s: float


@dataclass(frozen=True)
class FirstFrame:
    """Seconds from `submit` to the first frame. `met` is the stage of the unit that ran then,
    `unit_s` what it took; `long_units` is how many units of the long job ended before the frame
    came, that one included. `step_s` is the median step of the long job, `alone_s` the short job's
    first frame on an idle engine just before."""

    policy: str
    met: str
    long_units: int
    waited_s: float
    unit_s: float
    step_s: float
    alone_s: float

    @property
    def by_step(self) -> float:
        """By one step and the job's own work."""
        return self.waited_s / (self.step_s + self.alone_s)

    @property
    def by_unit(self) -> float:
        """By the unit that ran and the job's own work."""
        return self.waited_s / (self.unit_s + self.alone_s)


def first_frames(engine: Engine, policy: str) -> list[FirstFrame]:
    """Of an engine that is warm. A turn in which the long job was over too soon is repeated."""
    found = []
    for done in DONE_BEFORE:
        while (frame := _behind_a_long_job(engine, policy, done)) is None:
            pass
        found.append(frame)
    return found


def _alone_s(engine: Engine) -> float:
    request, sink = make_request(engine.bundle, PREVIEW, 1, seed=1), TimedFrames()
    began_s = time.perf_counter()
    engine.generate(request, sink)
    assert sink.first_s is not None
    return sink.first_s - began_s


def _behind_a_long_job(engine: Engine, policy: str, done_before: int) -> FirstFrame | None:
    alone_s = statistics.median(_alone_s(engine) for _ in range(3))
    long = make_request(engine.bundle, FEATURE, SEGMENTS, seed=0)
    short, sink = make_request(engine.bundle, PREVIEW, 1, seed=1), TimedFrames()
    stages: list[Stage] = []
    units: list[_Unit] = []
    reached = threading.Event()

    def watch(event: Event) -> None:
        if event.stage:
            stages.append(Stage(event.stage))

    def arrive() -> float:
        """In the middle of a step; longer units are met near their beginning."""
        reached.wait()
        time.sleep(_median_step_s(units) / 2)
        came_s = time.perf_counter()
        engine.submit(short, sink)
        return came_s

    with ThreadPoolExecutor(1) as arrivals:
        long_id = engine.submit(long, TimedFrames(), watch)
        arrival = arrivals.submit(arrive)
        while sink.first_s is None and not (arrival.done() and arrival.exception()):
            known, began_s = len(stages), time.perf_counter()
            engine.step()
            if len(stages) > known:
                units.append(_Unit(stages[-1], began_s, time.perf_counter()))
            if len(units) == done_before:
                reached.set()
        came_s = arrival.result()
    engine.cancel(long_id)
    while engine.step():
        pass
    assert sink.first_s is not None
    between = [unit for unit in units if unit.ended_s > came_s and unit.began_s < sink.first_s]
    if not between:
        return None
    met = between[0]
    return FirstFrame(
        policy=policy,
        met=met.stage.value,
        long_units=len(between),
        waited_s=sink.first_s - came_s,
        unit_s=met.ended_s - met.began_s,
        step_s=_median_step_s([unit for unit in units if unit.ended_s < came_s]),
        alone_s=alone_s,
    )


def _median_step_s(units: Sequence[_Unit]) -> float:
    return statistics.median(
        unit.ended_s - unit.began_s for unit in units if unit.stage is Stage.DENOISE
    )
