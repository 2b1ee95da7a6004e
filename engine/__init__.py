"""The runtime: bundles in, frames out, without torch.

Names are imported when they are first used, so that reading an error class or a manifest does not
load an inference backend.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

# ONNX Runtime's wheel writes a device id below the home folder and reports to its maker as soon as
# it is imported. Nothing leaves a machine that runs this engine unless its operator says so.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from wan_trt.engine.bundle import Bundle
    from wan_trt.engine.engine import Engine
    from wan_trt.engine.frames import ArrayFrames, CollectedFrames, FrameSink, FrameSource
    from wan_trt.engine.job import JobSummary
    from wan_trt.engine.models import ModelName
    from wan_trt.engine.request import (
        AnimateRequest,
        Event,
        ExpertName,
        ImageToVideoRequest,
        JobState,
        Mode,
        NoiseSource,
        Request,
        Sampling,
        SolverName,
        Step,
    )

_HOMES = {
    "Bundle": "bundle",
    "Engine": "engine",
    "ArrayFrames": "frames",
    "CollectedFrames": "frames",
    "FrameSink": "frames",
    "FrameSource": "frames",
    "JobSummary": "job",
    "ModelName": "models",
    "AnimateRequest": "request",
    "Event": "request",
    "ExpertName": "request",
    "ImageToVideoRequest": "request",
    "JobState": "request",
    "Mode": "request",
    "NoiseSource": "request",
    "Request": "request",
    "Sampling": "request",
    "SolverName": "request",
    "Step": "request",
}

__all__ = [
    "AnimateRequest",
    "ArrayFrames",
    "Bundle",
    "CollectedFrames",
    "Engine",
    "Event",
    "ExpertName",
    "FrameSink",
    "FrameSource",
    "ImageToVideoRequest",
    "JobState",
    "JobSummary",
    "Mode",
    "ModelName",
    "NoiseSource",
    "Request",
    "Sampling",
    "SolverName",
    "Step",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
