"""Everything that a process has to say goes to one stream, in one form."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Literal, TextIO

from wan_trt.server.telemetry.log_format import AddWork, JsonLines, TextLines

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

_uncaught = logging.getLogger("wan_trt.uncaught")


@contextmanager
def logging_to(stream: TextIO, form: LogFormat, level: LogLevel) -> Iterator[None]:
    """Within the block log records, Python's warnings and exceptions that nobody catches, in any
    thread, are lines of `stream`."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    handler.addFilter(AddWork())
    root = logging.getLogger()
    before = root.level, sys.excepthook, threading.excepthook, sys.unraisablehook
    root.addHandler(handler)
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    sys.excepthook, threading.excepthook, sys.unraisablehook = _main, _thread, _unraisable
    try:
        yield
    finally:
        handler.flush()
        logging.captureWarnings(False)
        root.removeHandler(handler)
        level_before, sys.excepthook, threading.excepthook, sys.unraisablehook = before
        root.setLevel(level_before)


def _main(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    _uncaught.critical("the process ends by a bug", exc_info=(kind, error, traceback))


def _thread(failure: threading.ExceptHookArgs) -> None:
    if failure.exc_type is SystemExit:
        return
    error = failure.exc_value or failure.exc_type()
    name = failure.thread.name if failure.thread else "unknown"
    _uncaught.critical("the thread %s ended by a bug", name, exc_info=error)


def _unraisable(failure: sys.UnraisableHookArgs) -> None:
    error = failure.exc_value or failure.exc_type()
    _uncaught.error("%s %r", failure.err_msg or "ignored in", failure.object, exc_info=error)
