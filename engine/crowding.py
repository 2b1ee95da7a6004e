"""Units that run side by side, and one that runs alone: because both do not fit into memory, or
because a process died at work on its job.

A unit that finds no pages, though every idle job is parked, ends with a CrowdedError: what it took
is given back, and its job is as idle as the others. Then it is done again, alone: the unit beside
it is over, no other begins, and all jobs but its own can be parked. So it fails for want of memory
only where it would have in an engine of one lane.

Nobody waits for another's pages while holding some that cannot be taken away: whoever waits here
has no unit under way. So two lanes never wait for each other. And every unit that waits is done
next, or after the other lane's one that waits too: new ones do not begin before.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class CrowdedError(Exception):
    """A unit cannot run beside the one that runs in the other lane."""


class Crowding:
    """Who runs beside whom; for any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._side_by_side = 0
        self._wanting_alone = 0
        self._alone = False

    @property
    def sole(self) -> bool:
        """Whether whoever asks, and runs, runs alone."""
        return self._alone

    @contextmanager
    def side_by_side(self) -> Iterator[None]:
        """Run with others; first those who want to be alone have their turn."""
        with self._changed:
            self._changed.wait_for(lambda: not self._wanting_alone)
            self._side_by_side += 1
        try:
            yield
        finally:
            with self._changed:
                self._side_by_side -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Run when nobody else does."""
        with self._changed:
            self._wanting_alone += 1
            self._changed.wait_for(lambda: not self._side_by_side and not self._alone)
            self._alone = True
        try:
            yield
        finally:
            with self._changed:
                self._alone = False
                self._wanting_alone -= 1
                self._changed.notify_all()
