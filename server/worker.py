"""The threads behind the calls: one for each lane of the engine, which steps while there is work
and sleeps while there is none; one tidies now and then."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from wan_trt.engine.engine import Engine
from wan_trt.engine.lanes import Lane

_log = logging.getLogger(__name__)


class Worker:
    """Started once, stopped once. Jobs' own errors end in the engine; `on_crash` is told of an
    error of the engine itself, after which nothing runs any more."""

    def __init__(self, engine: Engine, on_crash: Callable[[Exception], None]) -> None:
        self._engine = engine
        self._on_crash = on_crash
        self._stopping = threading.Event()
        self._crashing = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=(lane,), name=f"engine {lane}")
            for lane in engine.lanes
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self, suspend: bool) -> None:
        """End within the units of work that run now. The engine is closed: that wakes the threads
        and ends what is left, or with `suspend` leaves it to be taken up again."""
        self._stopping.set()
        try:
            if suspend:
                self._engine.suspend()
            self._engine.close()
        finally:
            for thread in self._threads:
                _join(thread)

    def _run(self, lane: Lane) -> None:
        try:
            while not self._stopping.is_set():
                if not self._engine.step(lane):
                    self._engine.wait(lane=lane)
        except Exception as error:
            _log.exception("the engine stopped by a bug")
            with self._crashing:
                first = not self._stopping.is_set()
                self._stopping.set()  # the other lane ends with its unit, or sleeps for good
            if first:
                self._on_crash(error)


class Tidier:
    """Calls `tidy` again and again. What it raises is logged: the next time may do better."""

    def __init__(self, tidy: Callable[[], None], every_s: float = 10.0) -> None:
        self._tidy = tidy
        self._every_s = every_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tidier")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        _join(self._thread)

    def _run(self) -> None:
        while not self._stopping.wait(self._every_s):
            try:
                self._tidy()
            except Exception:
                _log.exception("tidying failed")


def _join(thread: threading.Thread) -> None:
    """Wait for its end; one that was never started has none."""
    if thread.ident is not None:
        thread.join()
