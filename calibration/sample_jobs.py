"""Runs samples as whole jobs through the engine and forgets their frames."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wan_trt.calibration.samples import Sample, describe_request
from wan_trt.engine.engine import Engine
from wan_trt.engine.errors import InputError
from wan_trt.engine.models import ModelName
from wan_trt.engine.reporting import OnEvent
from wan_trt.engine.request import AnimateRequest


class ForgottenFrames:
    """A sink for jobs whose result nobody wants."""

    def write(self, frames: NDArray[np.float32]) -> None:
        del frames

    def write_latents(self, segment: int, latents: NDArray[np.float32]) -> None:
        del segment, latents

    def close(self) -> None:
        """Nothing is kept."""

    def abort(self) -> None:
        """Nothing is kept."""


def check_samples(samples: Sequence[Sample], model: ModelName) -> None:
    """Open every sample once: what is unusable is refused before anything long begins. Raises
    InputError naming it, also for a video shorter than one segment: it would be run back and forth,
    and its ranges be those of a video that nobody has."""
    for sample in samples:
        with ExitStack() as resources:
            request = sample.open(model, resources)
        if isinstance(request, AnimateRequest) and request.frame_count < request.segment_frames:
            raise InputError(
                f"sample {sample.name} has {request.frame_count} frames",
                expected=f"at least {request.segment_frames}, one segment; several show more",
                action="give a longer clip",
                field="inputs",
            )


def run_samples(
    engine: Engine, samples: Sequence[Sample], on_event: OnEvent | None
) -> dict[str, Any]:
    """Run all; what each was, by name and JSON-ready. Raises the error that ended one."""
    described: dict[str, Any] = {}
    for sample in samples:
        with ExitStack() as resources:
            request = sample.open(engine.bundle.manifest.model, resources)
            try:
                engine.generate(request, ForgottenFrames(), on_event)
            except InputError as error:
                raise sample.error(error) from None
            described[sample.name] = describe_request(request)
    return described
