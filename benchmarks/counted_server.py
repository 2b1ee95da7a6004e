"""`wan-trt serve` that counts what its parts take of the processor, and how that is read.

    python benchmarks/counted_server.py COUNTS serve BUNDLE ..      # as server_process starts it

Time of a thread inside a part is that part's, less what parts within it take; it is written to
COUNTS, which the benchmark maps too: it costs a microsecond a call. The server itself knows nothing
of this. Graphs have to run with one thread: others' time would not be seen.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Part(StrEnum):
    """Of the server's process; CALLS is what no other part took."""

    CONDITIONING = "conditioning"
    DENOISE = "denoise"
    DECODE = "decode"
    STEPPING = "stepping"  # whose turn it is, and all else between units
    TELEMETRY = "telemetry"
    EVENTS = "events"  # put into the store
    KEEPING = "keeping"  # checkpoints, spooled frames
    RESULT = "result"  # read from the spool, encoded, written
    CALLS = "calls"  # threads of RPCs, gRPC's own, tidying


WORK = (Part.CONDITIONING, Part.DENOISE, Part.DECODE)
"""The engine's units; all else is serving."""
SERVING = tuple(part for part in Part if part not in WORK)
_COUNTED = tuple(part for part in Part if part is not Part.CALLS)


class Counts:
    """Nanoseconds of each part, in memory that another process may map."""

    def __init__(self, path: Path) -> None:
        mapped = np.memmap(path, np.int64, "w+", shape=len(_COUNTED))
        self._ns: NDArray[np.int64] = np.asarray(mapped)  # whose items are reached faster
        self._lock = threading.Lock()
        self._inside = threading.local()

    def counted(self, function: Callable[_P, _T], part_of: Callable[_P, Part]) -> Callable[_P, _T]:
        """The function; what it takes goes to the part that its arguments say."""

        @functools.wraps(function)
        def run(*arguments: _P.args, **named: _P.kwargs) -> _T:
            index = _COUNTED.index(part_of(*arguments, **named))
            outside = getattr(self._inside, "ns", 0)
            self._inside.ns = 0
            began = time.thread_time_ns()
            try:
                return function(*arguments, **named)
            finally:
                took = time.thread_time_ns() - began
                with self._lock:
                    self._ns[index] += took - self._inside.ns
                self._inside.ns = outside + took

        return run

    def count(self, owner: type[Any], names: str, part_of: Callable[..., Part]) -> None:
        """Put counted methods in the place of those of a class."""
        for name in names.split():
            setattr(owner, name, self.counted(getattr(owner, name), part_of))


@dataclass(frozen=True)
class Reading:
    """Milliseconds of the processor that each part has taken so far."""

    ms: dict[Part, float]

    @classmethod
    def of(cls, pid: int, path: Path) -> Reading:
        """Of a counted server; on Linux."""
        counted = np.fromfile(path, np.int64)
        # Linux's clock of all threads of a process: clock_getcpuclockid(3), which Python lacks.
        total = time.clock_gettime_ns((~pid << 3) | 2)
        pairs = zip(_COUNTED, counted.tolist(), strict=True)
        ms: dict[Part, float] = {part: each / 1e6 for part, each in pairs}
        return cls({**ms, Part.CALLS: total / 1e6 - sum(ms.values())})

    def since(self, before: Reading) -> Reading:
        return Reading({part: ms - before.ms[part] for part, ms in self.ms.items()})

    def of_parts(self, parts: tuple[Part, ...]) -> float:
        return sum(self.ms[part] for part in parts)


def children_ms(pid: int) -> float:
    """What a process has taken with those that it has waited for; in steps of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return 1000 * sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def count_parts(counts: Counts) -> None:
    """From now on, in this process."""
    from wan_trt.engine.engine import Engine
    from wan_trt.engine.scheduling.unit import Stage, Unit
    from wan_trt.engine.stages.pipeline import Pipeline
    from wan_trt.server.job_record import JobRecord
    from wan_trt.server.store.job_output import JobOutput
    from wan_trt.server.store.result_writer import ResultWriter
    from wan_trt.server.telemetry.watched_jobs import WatchedJobs

    of_stage = {
        Stage.CONDITIONING: Part.CONDITIONING,
        Stage.DENOISE: Part.DENOISE,
        Stage.DECODE: Part.DECODE,
        Stage.RESULT: Part.RESULT,
    }

    def stage(_: Pipeline, unit: Unit, *rest: object) -> Part:  # noqa: ARG001
        return of_stage[unit.stage]

    counts.count(Pipeline, "run", stage)
    for owner, names, part in (
        (Engine, "step", Part.STEPPING),
        (WatchedJobs, "decided begins ended kept noted", Part.TELEMETRY),
        (JobRecord, "add", Part.EVENTS),
        (JobOutput, "begin_work end_work save write write_latents abort", Part.KEEPING),
        (ResultWriter, "_write close", Part.RESULT),
    ):
        counts.count(owner, names, lambda *_, part=part: part)


def main(arguments: list[str]) -> int:
    from wan_trt.cli.main import main as wan_trt

    path, *command = arguments
    count_parts(Counts(Path(path)))
    return wan_trt(command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
