"""Times of work on a device: CUDA events on a GPU, the host's clock on a CPU."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Timing:
    """Seconds of `repeats` runs."""

    median_s: float
    least_s: float
    most_s: float
    repeats: int


class Clock:
    """Runs work again and again."""

    def __init__(self, device: torch.device, patience: float = 1.0) -> None:
        """`patience` multiplies all budgets."""
        self.device, self._patience = device, patience

    def measure(
        self,
        name: str,
        run: Callable[[], object],
        budget_s: float,
        *,
        warm_up: bool = True,
        least: int = 3,
        most: int = 20,
    ) -> Timing:
        """`run` until `budget_s` are spent, within `least` and `most` times; before that once more
        to warm up, unless that is done. `name` is the NVTX range around it, which nsys shows."""
        if warm_up:
            run()
        times: list[float] = []
        with self._named(name):
            enough_s = budget_s * self._patience
            while len(times) < least or (sum(times) < enough_s and len(times) < most):
                times.append(self._once(run))
        return Timing(statistics.median(times), min(times), max(times), len(times))

    def _once(self, run: Callable[[], object]) -> float:
        if self.device.type != "cuda":
            begun = time.perf_counter()
            run()
            return time.perf_counter() - begun
        begin, end = (_event() for _ in range(2))
        begin.record()
        run()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1e3

    @contextmanager
    def _named(self, name: str) -> Iterator[None]:
        if self.device.type == "cuda":
            with torch.cuda.nvtx.range(name):
                yield
        else:
            yield


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


class Deadline:
    """What is left of the time that the whole benchmark may take."""

    def __init__(self, limit_s: float) -> None:
        self._end = time.monotonic() + limit_s

    @property
    def left_s(self) -> float:
        return self._end - time.monotonic()
