"""What the tests of jobs share: a sink that tells how it was left, and a look at a step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine import AnimateRequest, Bundle, CollectedFrames, Engine, Step
from wan_trt.engine.job_tensors import JobTensors

MakeBundle = Callable[..., Bundle]
MakeRequest = Callable[..., AnimateRequest]


class Sink(CollectedFrames):
    """Counts how it was left, and can be made to fail."""

    def __init__(self, fail: Exception | None = None) -> None:
        super().__init__()
        self.fail = fail
        self.endings: list[str] = []

    def write(self, frames: NDArray[np.float32]) -> None:
        if self.fail is not None:
            raise self.fail
        super().write(frames)

    def close(self) -> None:
        self.endings.append("close")
        super().close()

    def abort(self) -> None:
        self.endings.append("abort")
        super().abort()


def run_to_end(engine: Engine) -> None:
    while engine.step():
        pass


def velocities(
    tensors: JobTensors, step: Step
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """What the denoiser would answer in a step of a job on the CPU, in both branches, which
    changes nothing."""
    np.asarray(tensors.step.timestep)[0] = step.timestep
    tensors.denoiser.prepare(step.expert, guidance=2.0, version=step.segment)
    tensors.denoiser.launch(step.expert, guidance=2.0)
    both = tensors.step.conditional, tensors.step.unconditional
    conditional, unconditional = (None if tensor is None else np.array(tensor) for tensor in both)
    assert conditional is not None
    return conditional, unconditional
