"""TensorRT's messages: printed, and the errors kept for the error that is raised."""

from __future__ import annotations

import sys

import tensorrt as trt

from wan_trt.engine.errors import ExecutionError, ResourceError, WanTrtError

_OUT_OF_MEMORY = (
    "out of memory",
    "OutOfMemory",
    "cudaErrorMemoryAllocation",
    "insufficient memory",
)
_KEPT = 3


class Logger(trt.ILogger):
    """Prints warnings and errors to stderr."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)  # the bindings ask for it by this name
        self._errors: list[str] = []

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
            self._errors.append(" ".join(msg.split()))
        if severity not in (trt.ILogger.Severity.INFO, trt.ILogger.Severity.VERBOSE):
            print(f"{severity.name} {msg}", file=sys.stderr, flush=True)

    def failure(self, doing: str, action: str) -> WanTrtError:
        """What to raise when a call has failed: the last errors say why."""
        told = " / ".join(self._errors[-_KEPT:]) or "TensorRT gives no reason"
        if any(sign in told for sign in _OUT_OF_MEMORY):
            return ResourceError(
                f"out of memory {doing} ({told})",
                action="use a smaller size, or a GPU with more free memory",
            )
        return ExecutionError(f"{doing} failed: {told}", action=action)
