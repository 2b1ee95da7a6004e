"""TensorRT's progress as ours."""

from __future__ import annotations

from threading import Lock
from typing import SupportsInt

import tensorrt as trt

from wan_trt.plan.process import Tell


class ProgressMonitor(trt.IProgressMonitor):
    """Tells of phases without a parent, and of what happens inside them by its name. Called from
    several threads."""

    def __init__(self, tell: Tell) -> None:
        trt.IProgressMonitor.__init__(self)  # the bindings ask for it by this name
        self._tell = tell
        self._steps: dict[str, int] = {}
        self._lock = Lock()

    def phase_start(
        self, phase_name: str, parent_phase: str | None, num_steps: SupportsInt
    ) -> None:
        del parent_phase
        with self._lock:
            self._steps[phase_name] = int(num_steps)
            self._tell(phase_name, 0, int(num_steps))

    def step_complete(self, phase_name: str, step: SupportsInt) -> bool:
        with self._lock:
            self._tell(phase_name, int(step) + 1, self._steps.get(phase_name, 0))
        return True

    def phase_finish(self, phase_name: str) -> None:
        with self._lock:
            steps = self._steps.pop(phase_name, 0)
            self._tell(phase_name, steps, steps)
