"""Time and memory of the stages of the demonstration, as a table."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_RUSAGE_UNIT = 1 if sys.platform == "darwin" else 1024


def peak_of(usage: resource.struct_rusage) -> int:
    """Most resident memory in bytes, whatever unit the system counts in."""
    return usage.ru_maxrss * _RUSAGE_UNIT


@dataclass(frozen=True)
class Stage:
    """`peak_nbytes` is the most memory that the stage's process has held up to its end."""

    name: str
    process: str
    seconds: float
    peak_nbytes: int


class Stages:
    """Collects stages in order; the time of the whole is from when this was made."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._stages: list[Stage] = []

    def add(self, name: str, process: str, seconds: float, peak_nbytes: int) -> None:
        self._stages.append(Stage(name, process, seconds, peak_nbytes))

    @contextmanager
    def measured(self, name: str) -> Iterator[None]:
        """A stage in this process."""
        started = time.perf_counter()
        yield
        elapsed = time.perf_counter() - started
        self.add(name, "demo", elapsed, peak_of(resource.getrusage(resource.RUSAGE_SELF)))

    def table(self) -> str:
        """One line a stage, and the whole: its time, and the most any one process held."""
        whole = Stage(
            "all",
            "",
            time.perf_counter() - self._started,
            max(stage.peak_nbytes for stage in self._stages),
        )
        width = max(len(stage.name) for stage in self._stages)
        lines = [f"{'stage':{width}}  {'process':8} {'time':>8} {'peak memory':>13}"]
        for stage in (*self._stages, whole):
            memory = f"{stage.peak_nbytes / 1e6:.0f} MB" if stage.peak_nbytes else "?"
            lines.append(
                f"{stage.name:{width}}  {stage.process:8} {stage.seconds:6.1f} s {memory:>13}"
            )
        return "\n".join(lines)
