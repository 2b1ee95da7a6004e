"""What one run of one side reports: times by stage, memory, frames."""

from __future__ import annotations

import json
import resource
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Result = TypeVar("Result")


class Stage(StrEnum):
    """The rows of the table. What diffusers recomputes within each denoising step is still its
    own row where it is a module of its own."""

    LOAD = "load graphs"
    TEXT = "text encoder"
    IMAGE = "image encoder"
    VAE_ENCODE = "VAE encode"
    FACE = "motion and face encoder"
    CONTEXT = "contexts"
    DENOISE = "denoiser"
    VAE_DECODE = "VAE decode"


@dataclass(frozen=True)
class Job:
    """What a side needs to know, as JSON between processes. Paths are absolute."""

    checkpoint: str
    bundle: str
    inputs: str
    result: str
    steps: int
    prompt: str | None
    threads: int
    profile: str | None = None

    @staticmethod
    def read(path: Path) -> Job:
        return Job(**json.loads(path.read_text()))

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))


@dataclass(frozen=True)
class Measurement:
    """Seconds of wall time and processor time of the call, seconds by stage, and the most memory
    that the process ever held, in bytes, before the call and at the end."""

    total_s: float
    processor_s: float
    stages_s: dict[str, float]
    loaded_nbytes: int
    peak_nbytes: int


@dataclass
class Stopwatch:
    """Sums of seconds by stage; a stage inside another is taken out of the outer one."""

    seconds: defaultdict[Stage, float] = field(default_factory=lambda: defaultdict(float))
    _inner: list[float] = field(default_factory=list)

    @contextmanager
    def measure(self, stage: Stage) -> Iterator[None]:
        started = time.perf_counter()
        self._inner.append(0.0)
        try:
            yield
        finally:
            elapsed = time.perf_counter() - started
            self.seconds[stage] += elapsed - self._inner.pop()
            if self._inner:
                self._inner[-1] += elapsed

    def timed(self, stage: Stage, function: Callable[..., Result]) -> Callable[..., Result]:
        """`function`, with its time counted."""

        def call(*arguments: Any, **options: Any) -> Result:
            with self.measure(stage):
                return function(*arguments, **options)

        return call


def peak_nbytes() -> int:
    """The most resident memory of this process so far (kilobytes on Linux)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure_call(
    call: Callable[[], NDArray[np.float32]], stopwatch: Stopwatch
) -> tuple[Measurement, NDArray[np.float32]]:
    """Time `call`, whose result is frames float32 [n, h, w, 3] in [-1, 1]."""
    loaded = peak_nbytes()
    started, processor_started = time.perf_counter(), time.process_time()
    frames = call()
    measurement = Measurement(
        total_s=time.perf_counter() - started,
        processor_s=time.process_time() - processor_started,
        stages_s={stage.value: seconds for stage, seconds in stopwatch.seconds.items()},
        loaded_nbytes=loaded,
        peak_nbytes=peak_nbytes(),
    )
    return measurement, frames


def report(job: Job, measurement: Measurement, frames: NDArray[np.float32]) -> None:
    """Leave the result where the parent process reads it."""
    result = Path(job.result)
    np.save(result.with_suffix(".npy"), frames)
    result.write_text(json.dumps(asdict(measurement)))
