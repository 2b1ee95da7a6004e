"""Runs our modules as processes of their own, and what such a process says of itself."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent


def run_module(module: str, *arguments: str) -> float:
    """Seconds of wall time from start to exit; what it prints goes to stderr.

    Raises CalledProcessError when it fails.
    """
    path = os.pathsep.join(part for part in (str(FOLDER), os.environ.get("PYTHONPATH")) if part)
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-W", "ignore", "-m", module, *arguments],
        env={**os.environ, "PYTHONPATH": path},
        stdout=sys.stderr.fileno(),
        check=True,
    )
    return time.perf_counter() - started


def peak_nbytes() -> int:
    """The most memory this process has held so far. Linux's VmHWM starts at exec; what getrusage
    tells starts from the parent's."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])
