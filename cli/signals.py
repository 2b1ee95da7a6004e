"""Signals that a command takes as wishes, to be granted in its own time."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TypeAlias

# Its `put` may be called from a signal handler, whatever the interrupted code is doing.
Signals: TypeAlias = "SimpleQueue[int]"


@contextmanager
def caught_signals() -> Iterator[Signals]:
    """SIGINT and SIGTERM go into a queue from now on; when to stop is then our own decision."""
    signals: Signals = SimpleQueue()
    before = {
        number: signal.signal(number, lambda number, _frame: signals.put(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def wait_for(signals: Signals, meanwhile: Callable[[], None]) -> None:
    """Until a signal came; calls `meanwhile` some times a second. A wait without end would not do:
    the interpreter may then be asleep in a lock when two signals arrive together, and run neither's
    handler."""
    while signals.empty():
        meanwhile()
        time.sleep(0.2)
