"""When to try again where no server answers (pure, but for the clock and chance it is given)."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from wan_trt.engine.errors import InputError
from wan_trt.server.client.effects import Pause
from wan_trt.server.errors import UnavailableError

OnOutage = Callable[[UnavailableError, float], None]


@dataclass(frozen=True)
class Retries:
    """Only what is harmless is tried again: every call of this client.

    `patience_s` counts from the last answer, or from the first attempt; 0 gives up at once. Pauses
    double from `shortest_s` to `longest_s`, and up to half of each is chance, so that many clients
    do not come back at the same moment. A server that says when to come again is heeded.
    """

    patience_s: float = 30.0
    shortest_s: float = 0.1
    longest_s: float = 5.0

    def __post_init__(self) -> None:
        if not self.patience_s >= 0:
            raise InputError(f"{self.patience_s}", expected="0 or more seconds", field="patience_s")

    def pause_s(self, failures: int, told_s: float | None, chance: float) -> float:
        """After so many `failures` in a row, from 1; `chance` is 0 .. 1."""
        grown = min(self.longest_s, self.shortest_s * 2.0 ** min(failures - 1, 60))
        return (told_s or 0.0) + grown * (1 - chance / 2)


class Outage:
    """The time in which one operation gets no answer."""

    def __init__(
        self,
        retries: Retries,
        on_outage: OnOutage | None = None,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`on_outage` is told its beginning: the error, and how long it will be borne."""
        self._retries = retries
        self._on_outage = on_outage
        self._clock = clock
        self._chance = chance
        self._since = clock()
        self._failures = 0

    def over(self) -> None:
        """The server answered."""
        self._since = self._clock()
        self._failures = 0

    def pause(self, error: UnavailableError) -> Pause:
        """How to go on after a failure. Raises it where that would be of no use."""
        self._failures += 1
        pause_s = self._retries.pause_s(self._failures, error.retry_after_s, self._chance())
        left_s = self._since + self._retries.patience_s - self._clock()
        if pause_s > left_s:
            raise error
        if self._failures == 1 and self._on_outage is not None:
            self._on_outage(error, left_s)
        return Pause(pause_s)
