"""The vocabulary of a job: what was asked (Request), its unit of work (Step), its news (Event)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.frames import FrameSource


class Mode(StrEnum):
    ANIMATE = "animate"
    REPLACE = "replace"


class SolverName(StrEnum):
    UNIPC = "unipc"
    DPMPP = "dpm++"
    EULER = "euler"


class ExpertName(StrEnum):
    HIGH = "high"
    LOW = "low"


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


class NoiseSource(Protocol):
    """Initial noise of each segment."""

    def segment(self, index: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Noise of segment `index`, float32 of `shape` = [16, F, h, w]."""
        ...


@dataclass(frozen=True)
class Sampling:
    """How a job is denoised. `guidance` is (high, low); 1 runs no unconditional branch."""

    steps: int = 20
    solver: SolverName = SolverName.UNIPC
    shift: float = 5.0
    guidance: tuple[float, float] = (1.0, 1.0)


@dataclass(frozen=True)
class Request:
    """One video to make. The pose video's size is the output's size (multiples of 16).

    `reference` is uint8 [h, w, 3] RGB of any size: it is letterboxed to the output's size.
    `pose` holds drawn skeletons at the output's size, `face` square crops of any size (they are
    resized to the model's); `background` and `mask` (white = replace) are for replace mode only.
    `prompt` None means the model's own prompt, stored in the bundle as an embedding; likewise
    `negative_prompt`. `noise` None means drawn from `seed`.
    """

    reference: NDArray[np.uint8] = field(repr=False)
    pose: FrameSource
    face: FrameSource
    background: FrameSource | None = None
    mask: FrameSource | None = None
    mode: Mode = Mode.ANIMATE
    prompt: str | None = None
    negative_prompt: str | None = None
    sampling: Sampling = Sampling()
    seed: int = 0
    noise: NoiseSource | None = field(default=None, repr=False)
    segment_frames: int = 77
    overlap: int = 1


@dataclass(frozen=True)
class Step:
    """One denoising step of one segment of one job: the unit of scheduling."""

    job_id: str
    segment: int
    index: int
    timestep: int
    sigma: float
    next_sigma: float
    expert: ExpertName


@dataclass(frozen=True)
class Event:
    """News of a job. `sequence` counts from 1 within the job, without gaps.

    `stage` names what was just finished ("conditioning", "denoise", "decode"), empty for pure
    state changes. `frames` is how many frames are written so far. `error` is set on failure.
    """

    sequence: int
    job_id: str
    state: JobState
    stage: str = ""
    segment: int = 0
    segments: int = 0
    step: int = 0
    steps: int = 0
    timestep: int = 0
    expert: ExpertName | None = None
    frames: int = 0
    total_frames: int = 0
    elapsed_s: float = 0.0
    eta_s: float | None = None
    error: Exception | None = field(default=None, compare=False)
