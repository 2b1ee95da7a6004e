"""Probes in processes of their own: a library that hangs or kills its process costs a finding."""

from __future__ import annotations

import contextlib
import importlib
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

# The child finds our packages where this process found them, however it was started. What a
# library prints goes before the last line.
_CHILD = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from wan_trt.doctor.isolated import answer
print()
print(answer(sys.argv[2]))
"""


def answer(module: str) -> str:
    """In the child: what the module's `probe()` found, a dataclass, as one line of JSON."""
    return json.dumps(asdict(importlib.import_module(module).probe()))


def ask(modules: Mapping[str, str], timeout_s: float) -> dict[str, dict[str, Any] | str]:
    """Name -> what the probe in that module found, or in words why it found nothing. They run
    side by side; those that are not done after `timeout_s` are ended."""
    deadline = time.monotonic() + timeout_s
    children = {name: _start(module) for name, module in modules.items()}
    return {name: _answer_of(child, deadline) for name, child in children.items()}


def _start(module: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _CHILD, json.dumps(sys.path), module],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )


def _answer_of(child: subprocess.Popen[str], deadline: float) -> dict[str, Any] | str:
    try:
        output, error = child.communicate(timeout=max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        _abandon(child)
        return "it did not answer in time"
    if child.returncode < 0:
        return f"it was killed by signal {-child.returncode}"
    if child.returncode:
        return (error.strip().splitlines() or [f"exit code {child.returncode}"])[-1]
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


def _abandon(child: subprocess.Popen[str]) -> None:
    """Kill it, and do not wait for long: a process that sleeps in a driver does not end."""
    child.kill()
    for pipe in (child.stdout, child.stderr):
        if pipe is not None:
            pipe.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(timeout=1)
