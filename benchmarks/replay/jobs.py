"""The simulator's kinds of jobs at sizes that a processor does in a second, as real requests."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simulation.traces import Kind, TracedJob, Traffic
from wan_trt.engine.bundle import Bundle
from wan_trt.engine.frames import ArrayFrames, CollectedFrames
from wan_trt.engine.memory.footprint import VideoSize
from wan_trt.engine.request import AnimateRequest, Sampling
from wan_trt.engine.scheduling.unit import Stage

SMALL = VideoSize(32, 48, 5)
LARGE = VideoSize(64, 96, 5)

PREVIEW = Kind("preview", 0.50, SMALL, 4, 1)
DRAFT = Kind("draft", 0.15, LARGE, 4, 2)
SHOT = Kind("shot", 0.20, SMALL, 20, 2)
FEATURE = Kind("feature", 0.15, LARGE, 20, 2)
KINDS = {kind.name: kind for kind in (PREVIEW, DRAFT, SHOT, FEATURE)}
TINY_MIXED = Traffic("mixed, tiny", tuple(KINDS.values()))
"""Shares and steps of the simulator's mixed traffic; at most two segments, for time."""


class TimedFrames(CollectedFrames):
    """Keeps the frames, and when the first of them came (`time.perf_counter`)."""

    def __init__(self) -> None:
        super().__init__()
        self.first_s: float | None = None

    def write(self, frames: NDArray[np.float32]) -> None:
        if self.first_s is None:
            self.first_s = time.perf_counter()
        super().write(frames)

    def digest(self) -> str:
        """Of all frames and all segments' latents."""
        found = hashlib.sha256(self.frames.tobytes())
        for segment in sorted(self.latents):
            found.update(self.latents[segment].tobytes())
        return found.hexdigest()


def make_request(bundle: Bundle, kind: Kind, segments: int, seed: int) -> AnimateRequest:
    """Pictures of noise. Each seed is another video."""
    face = bundle.manifest.geometry.face
    assert face is not None, "the bundle is Animate's"
    random = np.random.default_rng(seed)
    size, frames = kind.size, segments * (kind.size.frames - 1) + 1

    def pictures(count: int, height: int, width: int) -> NDArray[np.uint8]:
        return random.integers(0, 256, (count, height, width, 3), dtype=np.uint8)

    return AnimateRequest(
        reference=pictures(1, size.height, size.width)[0],
        pose=ArrayFrames(pictures(frames, size.height, size.width)),
        face=ArrayFrames(pictures(frames, face.size, face.size)),
        sampling=Sampling(steps=kind.steps),
        seed=seed,
        segment_frames=size.frames,
    )


def trace_requests(bundle: Bundle, trace: Sequence[TracedJob]) -> dict[str, AnimateRequest]:
    """What each job of a trace asks for, by its id."""
    requests = {}
    for seed, job in enumerate(trace):
        segments = sum(run.stage is Stage.CONDITIONING for run in job.runs)
        requests[job.job_id] = make_request(bundle, KINDS[job.kind], segments, seed)
    return requests
