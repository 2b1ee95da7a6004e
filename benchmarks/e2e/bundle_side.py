"""One run through the bundle, in a process of its own: `python -m e2e.bundle_side JOB.json`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2e.case import SHIFT, Inputs
from e2e.measurement import Job, Stage, Stopwatch, measure_call, report
from e2e.profile import profiled_session
from wan_trt.engine.bundle import Bundle
from wan_trt.engine.engine import Engine
from wan_trt.engine.executor import Bindings
from wan_trt.engine.frames import ArrayFrames, CollectedFrames
from wan_trt.engine.ort import OrtExecutor
from wan_trt.engine.request import AnimateRequest, Sampling, SolverName

STAGES: Mapping[str, Stage] = {
    "text_encoder": Stage.TEXT,
    "image_encoder": Stage.IMAGE,
    "vae_encoder_first": Stage.VAE_ENCODE,
    "vae_encoder_next": Stage.VAE_ENCODE,
    "motion_encoder": Stage.FACE,
    "face_context": Stage.FACE,
    "text_context": Stage.CONTEXT,
    "image_context": Stage.CONTEXT,
    "segment_context": Stage.CONTEXT,
    "denoiser": Stage.DENOISE,
    "vae_decoder_first": Stage.VAE_DECODE,
    "vae_decoder_next": Stage.VAE_DECODE,
}


def watch(stopwatch: Stopwatch, profiles: Path | None) -> None:
    """Count the time of every executor's loading and runs from now on, and let ONNX Runtime write
    its profiles where a folder for them is given."""
    load, launch = OrtExecutor.__init__, OrtExecutor.launch
    stages: dict[OrtExecutor, Stage] = {}

    def timed_load(self: OrtExecutor, graph: Path, *rest: Any) -> None:
        stages[self] = STAGES[graph.stem]
        with stopwatch.measure(Stage.LOAD), profiled_session(profiles, graph.stem):
            load(self, graph, *rest)

    def timed_launch(self: OrtExecutor, bindings: Bindings, stream: int | None = None) -> None:
        with stopwatch.measure(stages[self]):
            launch(self, bindings, stream)

    OrtExecutor.__init__ = timed_load  # type: ignore[method-assign, assignment]
    OrtExecutor.launch = timed_launch  # type: ignore[method-assign]


class GivenNoise:
    """The same noise for the only segment."""

    def __init__(self, noise: NDArray[np.float32]) -> None:
        self._noise = noise

    def segment(self, index: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
        assert index == 0, "a case has one segment"
        assert shape == self._noise.shape, "inputs and request are of one size"
        return self._noise


def main() -> None:
    job = Job.read(Path(sys.argv[1]))
    stopwatch = Stopwatch()
    watch(stopwatch, Path(job.profile) if job.profile is not None else None)
    inputs = Inputs.load(Path(job.inputs))
    request = AnimateRequest(
        reference=inputs.reference,
        pose=ArrayFrames(inputs.pose),
        face=ArrayFrames(inputs.face),
        prompt=job.prompt,
        sampling=Sampling(steps=job.steps, solver=SolverName.EULER, shift=SHIFT),
        noise=GivenNoise(inputs.noise),
        segment_frames=len(inputs.pose),
    )

    def generate() -> NDArray[np.float32]:
        sink = CollectedFrames()
        with Engine(Bundle.open(job.bundle), job.threads) as engine:
            engine.generate(request, sink)
        return sink.frames

    report(job, *measure_call(generate, stopwatch))


if __name__ == "__main__":
    main()
