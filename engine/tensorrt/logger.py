"""What TensorRT says: printed, and its errors kept for the error that is raised.

A call that fails returns False or None; the reason comes beside it, as a message to the logger and,
for a runtime, its engines and their contexts, as a code and a text to the recorder. Either may come
from threads of TensorRT's own.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from functools import cache
from typing import SupportsInt

import tensorrt as trt

from wan_trt.engine.errors import ExecutionError, ResourceError, WanTrtError

_OUT_OF_MEMORY = (
    "out of memory",
    "OutOfMemory",
    "cudaErrorMemoryAllocation",
    "insufficient memory",
    "FAILED_ALLOCATION",  # of trt.ErrorCodeTRT
)
_KEPT = 3


class Logger(trt.ILogger):
    """Prints warnings and errors to stderr, and remembers what was told during a call.

    Several threads may make calls. What TensorRT says on the thread of a call belongs to that call,
    what it says on threads of its own may belong to any.
    """

    def __init__(self) -> None:
        trt.ILogger.__init__(self)  # the bindings ask for it by this name
        self._lock = threading.Lock()
        self._told: dict[int, deque[str]] = {}  # by thread, since its last `begin`

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
            self.keep(msg)
        if severity not in (trt.ILogger.Severity.INFO, trt.ILogger.Severity.VERBOSE):
            print(f"{severity.name} {msg}", file=sys.stderr, flush=True)

    def begin(self) -> None:
        """This thread makes a call: what was told before is not why it fails."""
        with self._lock:
            self._told[threading.get_ident()] = deque(maxlen=_KEPT)

    def keep(self, error: str) -> None:
        """Remember an error for `failure`."""
        with self._lock:
            mine = self._told.get(threading.get_ident())
            for told in self._told.values() if mine is None else (mine,):
                told.append(" ".join(error.split()))

    def failure(self, doing: str, action: str) -> WanTrtError:
        """What to raise when this thread's call has failed: the last errors since `begin` say
        why."""
        with self._lock:
            errors = self._told.pop(threading.get_ident(), ())
        told = " / ".join(errors) or "TensorRT gives no reason"
        if any(sign in told for sign in _OUT_OF_MEMORY):
            return ResourceError(
                f"out of memory {doing} ({told})",
                action="use a smaller size, or a GPU with more free memory",
            )
        return ExecutionError(f"{doing} failed: {told}", action=action)


@cache
def process_logger() -> Logger:
    """The one of this process: the first that TensorRT is given also serves whatever it says
    without saying for whom, as long as anything of it lives."""
    return Logger()


class ErrorRecorder(trt.IErrorRecorder):
    """Hands the errors of a runtime and of all that is made from it to its logger. The runtime
    keeps it alive."""

    def __init__(self, logger: Logger) -> None:
        trt.IErrorRecorder.__init__(self)  # the bindings ask for it by this name
        self._logger = logger
        self._lock = threading.Lock()
        self._errors: deque[tuple[trt.ErrorCodeTRT, str]] = deque(maxlen=_KEPT)
        self._overflowed = False

    def report_error(self, code: trt.ErrorCodeTRT, description: str) -> bool:
        """False: TensorRT need not end the process over it, the failing call will say so."""
        self._logger.keep(f"{code.name}: {description}")
        with self._lock:
            self._overflowed |= len(self._errors) == _KEPT
            self._errors.append((code, description))
        return False

    def num_errors(self) -> int:
        with self._lock:
            return len(self._errors)

    get_num_errors = num_errors  # the bindings declare one and call the other

    def get_error_code(self, index: SupportsInt) -> trt.ErrorCodeTRT:
        with self._lock:
            return self._errors[int(index)][0]

    def get_error_desc(self, index: SupportsInt) -> str:
        with self._lock:
            return self._errors[int(index)][1]

    def has_overflowed(self) -> bool:
        with self._lock:
            return self._overflowed

    def clear(self) -> None:
        with self._lock:
            self._errors.clear()
            self._overflowed = False
