"""How many threads this process may use."""

from __future__ import annotations

import os

from wan_trt.engine.errors import InputError

THREADS_A_CORE = 4  # more only compete


def available_threads() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def require_sane_threads(threads: int | None) -> None:
    """Raises InputError for a number that no machine has use for; None is one for each core."""
    most = THREADS_A_CORE * available_threads()
    if threads is not None and not 1 <= threads <= most:
        raise InputError(
            f"{threads}",
            expected=f"1 to {most}, {THREADS_A_CORE} for each core",
            action="leave it out for one thread a core",
            field="threads",
        )
