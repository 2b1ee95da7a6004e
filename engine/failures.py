"""Whatever ends a unit of work as one of the tree's errors."""

from __future__ import annotations

import errno
import logging
import traceback

from wan_trt.engine.errors import ExecutionError, ResourceError, WanTrtError, without_frames
from wan_trt.engine.scheduling.unit import Unit

_log = logging.getLogger(__name__)


def typed_failure(error: Exception, unit: Unit) -> WanTrtError:
    """Any failure of a job as one of the tree's errors, to keep: without a traceback or a cause,
    which go to the log."""
    if isinstance(error, WanTrtError):
        _note(logging.DEBUG, error, unit)
        return without_frames(error)
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or isinstance(error, MemoryError):
        _note(logging.DEBUG, error, unit)
        return ResourceError(
            f"{_describe(unit)}: {error or 'out of memory'}",
            action="make room, or use another machine",
        )
    _note(logging.ERROR, error, unit)
    return ExecutionError(
        f"{_describe(unit)}: {type(error).__name__}: {error}",
        action="report this with the request",
    )


def _note(level: int, error: Exception, unit: Unit) -> None:
    """Log a job's failure as text: a handler that keeps records must not keep frames."""
    text = "".join(traceback.format_exception(error))
    _log.log(level, "job %s, %s\n%s", unit.job_id, _describe(unit), text)


def _describe(unit: Unit) -> str:
    """A unit in an error message: "segment 2, denoise step 7"."""
    step = f" step {unit.step.index}" if unit.step else ""
    return f"segment {unit.segment}, {unit.stage.value}{step}"
