"""A job that no process survives. Here, where a process of its own can import it."""

from __future__ import annotations

import os
import signal

from wan_trt.engine.job import Job
from wan_trt.engine.scheduling.unit import Unit
from wan_trt.engine.stages.pipeline import Pipeline

DEADLY = 13
"""The seed of a job whose second step no process survives."""


def deadly(unit: Unit, job: Job) -> bool:
    return job.request.seed == DEADLY and unit.step is not None and unit.step.index == 1


def kill_at_the_deadly_step() -> None:
    """From now on it ends this process."""
    survived = Pipeline.run

    def run(pipeline: Pipeline, unit: Unit, job: Job) -> None:
        if deadly(unit, job):
            os.kill(os.getpid(), signal.SIGKILL)
        survived(pipeline, unit, job)

    Pipeline.run = run  # type: ignore[assignment, method-assign]
