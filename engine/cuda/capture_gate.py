"""Captures, and what may wait for a whole GPU: never at the same time.

While a stream is captured, waiting for everything on the GPU is invalid in every thread, and spoils
the capture (CUDA programming guide, "Prohibited and unhandled operations"). Whoever loads or closes
a graph, or makes an execution context, cannot know whether a library does that. So a load waits for
the captures that go on, which take milliseconds; a capture does not wait for a load, which takes
seconds: it is put off.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class CaptureGate:
    """Of one device, for all threads. There may be several captures, or several loads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._captures = 0
        self._loads = 0

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Nothing is captured meanwhile. Not for a thread that captures."""
        with self._changed:
            self._changed.wait_for(lambda: not self._captures)
            self._loads += 1
        try:
            yield
        finally:
            with self._changed:
                self._loads -= 1

    @contextmanager
    def capture(self) -> Iterator[bool]:
        """Whether a capture may begin; if so, nothing is loaded until the block ends."""
        with self._changed:
            free = not self._loads
            self._captures += free
        try:
            yield free
        finally:
            if free:
                with self._changed:
                    self._captures -= 1
                    self._changed.notify_all()
