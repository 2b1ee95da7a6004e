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
from wan_trt.engine import engine as engine_module
from wan_trt.engine.bundle import Bundle
from wan_trt.engine.engine import Engine
from wan_trt.engine.executor import Bindings, GraphSpec
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
_stopwatch = Stopwatch()


class TimedExecutor(OrtExecutor):
    """An executor whose loading and runs are counted."""

    def __init__(
        self, graph: Path, weights: Path, spec: GraphSpec, threads: int | None = None
    ) -> None:
        self._stage = STAGES[graph.stem]
        with _stopwatch.measure(Stage.LOAD):
            super().__init__(graph, weights, spec, threads)

    def launch(self, bindings: Bindings, stream: int | None = None) -> None:
        with _stopwatch.measure(self._stage):
            super().launch(bindings, stream)


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
    engine_module.OrtExecutor = TimedExecutor  # type: ignore[misc]
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

    report(job, *measure_call(generate, _stopwatch))


if __name__ == "__main__":
    main()
