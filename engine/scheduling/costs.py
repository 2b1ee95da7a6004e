"""Seconds of a pass: what was measured, or a guess from the work of it."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from wan_trt.engine.memory.footprint import VideoSize
from wan_trt.engine.scheduling.unit import Stage

REMEMBERED = 9
"""Measurements of a key that count: a median of so many stands four wild ones."""

TOLERANCE = 0.05
"""A change of less is not published: whoever sorts by costs would have to sort again."""


@dataclass(frozen=True)
class CostKey:
    """What seconds are measured of. `engine` tells engines of one stage apart, as
    "denoiser.high"; `size` is that of a segment; `backend` also names the device."""

    stage: Stage
    engine: str
    size: VideoSize
    precision: str
    backend: str


class Cost:
    """Seconds of one pass of a key, as published. Looked up once and kept by who needs it."""

    __slots__ = ("_recent", "key", "seconds")

    def __init__(self, key: CostKey, seconds: float) -> None:
        self.key = key
        self.seconds = seconds
        self._recent: deque[float] = deque(maxlen=REMEMBERED)

    @property
    def measured(self) -> bool:
        return bool(self._recent)

    def _add(self, seconds: float) -> bool:
        """Take a measurement; whether the published seconds changed."""
        first = not self._recent
        self._recent.append(seconds)
        median = statistics.median(self._recent)
        if first or abs(median - self.seconds) > TOLERANCE * self.seconds:
            self.seconds = median
            return True
        return False


class CostTable:
    """Costs by key. What was never measured is guessed: its operations, at the speed of measured
    keys of the same stage, precision and backend; else of the same backend; else as given."""

    def __init__(
        self,
        operations: Callable[[CostKey], float],
        operations_per_s: float,
        known: Mapping[CostKey, float] | None = None,
    ) -> None:
        """`operations` says how much work a pass is; `known` are seconds that were measured before,
        as `measured` gave them."""
        self._operations = operations
        self._operations_per_s = operations_per_s
        self._costs: dict[CostKey, Cost] = {}
        self.version = 0
        """Changes with every published cost."""
        self.learn(known or {})

    def cost(self, key: CostKey) -> Cost:
        if key not in self._costs:
            self._costs[key] = Cost(key, self._guess(key))
        return self._costs[key]

    def record(self, cost: Cost, seconds: float) -> None:
        """`cost` is this table's; `seconds` are those of one pass."""
        if seconds < 0:
            raise ValueError(f"a pass of {cost.key} took {seconds} s")
        first = not cost.measured
        if not cost._add(seconds):
            return
        self.version += 1
        if first:
            for other in self._costs.values():
                if not other.measured:
                    other.seconds = self._guess(other.key)

    def learn(self, known: Mapping[CostKey, float]) -> None:
        """Begin with what was measured before; where something was measured since, that counts."""
        for key, seconds in known.items():
            if not self.cost(key).measured:
                self.record(self.cost(key), seconds)

    def measured(self) -> dict[CostKey, float]:
        """What another table may begin with."""
        return {key: cost.seconds for key, cost in self._costs.items() if cost.measured}

    def _guess(self, key: CostKey) -> float:
        return self._operations(key) / self._speed(key)

    def _speed(self, key: CostKey) -> float:
        """Operations a second."""
        same_backend = [
            cost
            for cost in self._costs.values()
            if cost.measured and cost.seconds > 0 and cost.key.backend == key.backend
        ]
        alike = [
            cost
            for cost in same_backend
            if (cost.key.stage, cost.key.precision) == (key.stage, key.precision)
        ]
        speeds = [self._operations(c.key) / c.seconds for c in alike or same_backend]
        return statistics.median(speeds) if speeds else self._operations_per_s
