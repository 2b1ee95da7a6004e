"""How much longer than foretold work takes, as a rule: the margin that promises need."""

from __future__ import annotations

from collections import deque

STRETCH = 16
"""Units whose time is looked at together: a promise is of many units, of which few are wild."""

REMEMBERED = 32
"""Stretches that count."""

MOST = 2.0
"""More is not a matter of spread: then costs are wrong, and are being learned."""


class Pace:
    """Seconds that passed by seconds that were foretold, over stretches of units that followed each
    other. All that happens between two decisions is in it: units that take longer than their
    median, what a graph takes to load, and what the engine does beside units."""

    def __init__(self, most: float = MOST) -> None:
        """`most` is the greatest margin that is asked for; 1: none."""
        self._most = most
        self._ratios: deque[float] = deque(maxlen=REMEMBERED)
        self._units = 0
        self._foretold_s = self._passed_s = 0.0
        self._since_s: float | None = None
        self.margin = 1.0
        """Seconds to set aside for a foretold second: nine of ten stretches took no more."""

    def begin(self, now: float, foretold_s: float) -> None:
        """A unit is handed out that should take so long."""
        self.rest(now)
        if self._units >= STRETCH and self._foretold_s > 0:
            self._ratios.append(self._passed_s / self._foretold_s)
            self._units, self._foretold_s, self._passed_s = 0, 0.0, 0.0
            self.margin = self._margin()
        self._since_s = now
        self._units += 1
        self._foretold_s += foretold_s

    def rest(self, now: float) -> None:
        """There is nothing to do, or what is done next was not foretold."""
        if self._since_s is not None:
            self._passed_s += now - self._since_s
        self._since_s = None

    def _margin(self) -> float:
        """The worst tenth is left out, and always the worst one: a graph was loaded then."""
        beyond = 1 + len(self._ratios) // 10
        if len(self._ratios) <= beyond:
            return 1.0
        return min(self._most, max(1.0, sorted(self._ratios, reverse=True)[beyond]))
