"""One run through the bundle, in a process of its own: `python -m e2e.bundle_side JOB.json`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from e2e.case import SHIFT, Inputs
from e2e.measurement import Job, Stage, Stopwatch, measure_call, report
from numpy.typing import NDArray
from wan_trt.engine.bundle import Bundle
from wan_trt.engine.engine import Engine
from wan_trt.engine.executor import Bindings
from wan_trt.engine.frames import ArrayFrames, CollectedFrames
from wan_trt.engine.ort import OrtExecutor
from wan_trt.engine.request import Request, Sampling, SolverName

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


def watch(stopwatch: Stopwatch) -> None:
    """Count the time of every executor's loading and runs from now on."""
    load, launch = OrtExecutor.__init__, OrtExecutor.launch
    stages: dict[OrtExecutor, Stage] = {}

    def timed_load(self: OrtExecutor, graph: Path, *rest: Any) -> None:
        stages[self] = STAGES[graph.stem]
        with stopwatch.measure(Stage.LOAD):
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
        assert index == 0 and shape == self._noise.shape, "one segment of the case's size"
        return self._noise


def write_profiles(folder: Path) -> None:
    """Let every session from now on write its ONNX Runtime profile into `folder`."""
    plain = onnxruntime.SessionOptions

    def profiled() -> Any:
        options = plain()
        options.enable_profiling = True
        options.profile_file_prefix = str(folder / "session")
        return options

    onnxruntime.SessionOptions = profiled


def main() -> None:
    job = Job.read(Path(sys.argv[1]))
    if job.profile is not None:
        write_profiles(Path(job.profile))
    stopwatch = Stopwatch()
    watch(stopwatch)
    inputs = Inputs.load(Path(job.inputs))
    request = Request(
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
