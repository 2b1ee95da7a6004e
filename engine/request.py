"""The vocabulary of a job: what was asked (Request), its unit of work (Step), its news (Event)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.frames import FrameSource
from wan_trt.engine.geometry import video_size
from wan_trt.engine.models import ModelName


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
    """`PAUSED`: begun, and waiting for what it lacks, which the event's error tells."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
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
    """How a job is denoised. `guidance` is (high, low); 1 runs no unconditional branch.

    The defaults are Animate's.
    """

    steps: int = 20
    solver: SolverName = SolverName.UNIPC
    shift: float = 5.0
    guidance: tuple[float, float] = (1.0, 1.0)


IMAGE_TO_VIDEO_SAMPLING = Sampling(steps=40, guidance=(3.5, 3.5))


@dataclass(frozen=True)
class AnimateRequest:
    """One video of a character that moves as a driver does. The pose video's size is the output's
    size (multiples of 16).

    `reference` is uint8 [h, w, 3] RGB of any size: it is letterboxed to the output's size.
    `pose` holds drawn skeletons at the output's size, `face` square crops of any size (they are
    resized to the model's); `background` and `mask` (white = replace) are for replace mode only.
    `prompt` None or "" means the model's own prompt, stored in the bundle as an embedding;
    likewise `negative_prompt`. `noise` None means drawn from `seed`.
    """

    model: ClassVar[ModelName] = ModelName.ANIMATE
    reference_latents: ClassVar[int] = 1
    """Latents before those of the video: they are denoised with it and not decoded."""

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

    @property
    def height(self) -> int:
        return self.pose.height

    @property
    def width(self) -> int:
        return self.pose.width

    @property
    def frame_count(self) -> int:
        return self.pose.count

    @property
    def rate(self) -> Fraction | None:
        """Frames per second of the video; None where the driver has no clock."""
        return self.pose.rate

    def guidance(self, expert: ExpertName) -> float:
        """By how much the expert's branches are extrapolated; upstream counts less than 1 as 1."""
        return max(1.0, _of_expert(self.sampling.guidance, expert))


@dataclass(frozen=True)
class ImageToVideoRequest:
    """One video that begins with a picture, and ends with another where `last_frame` is given.

    `reference` and `last_frame` are uint8 [h, w, 3] RGB of any size. The video has about `area`
    pixels a frame in the aspect of `reference`, and `frames` of them (4n+1). All else is as in
    `AnimateRequest`.
    """

    model: ClassVar[ModelName] = ModelName.IMAGE_TO_VIDEO
    reference_latents: ClassVar[int] = 0

    reference: NDArray[np.uint8] = field(repr=False)
    last_frame: NDArray[np.uint8] | None = field(default=None, repr=False)
    frames: int = 81
    area: int = 1280 * 720
    prompt: str | None = None
    negative_prompt: str | None = None
    sampling: Sampling = IMAGE_TO_VIDEO_SAMPLING
    seed: int = 0
    noise: NoiseSource | None = field(default=None, repr=False)

    @property
    def height(self) -> int:
        return video_size(self.reference.shape[0], self.reference.shape[1], self.area)[0]

    @property
    def width(self) -> int:
        return video_size(self.reference.shape[0], self.reference.shape[1], self.area)[1]

    @property
    def frame_count(self) -> int:
        return self.frames

    @property
    def segment_frames(self) -> int:
        """The video is made in one pass."""
        return self.frames

    @property
    def rate(self) -> Fraction:
        """Frames per second that the model was trained on."""
        return Fraction(16)

    def guidance(self, expert: ExpertName) -> float:
        """By how much the expert's branches are extrapolated; below 1 mixes them."""
        return _of_expert(self.sampling.guidance, expert)


Request = AnimateRequest | ImageToVideoRequest


def is_guided(request: Request) -> bool:
    """Whether any expert has a guidance that counts: only then a negative prompt is read."""
    return any(request.guidance(expert) != 1 for expert in ExpertName)


def _of_expert(guidance: tuple[float, float], expert: ExpertName) -> float:
    high, low = guidance
    return high if expert is ExpertName.HIGH else low


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

    `stage` names what was just finished ("conditioning", "denoise", "decode"). It is empty for pure
    state changes and where a segment begins, which is then being conditioned. `frames` is how many
    frames are written so far. `eta_s` is None before there is something to estimate from. `error`
    says why a job failed, or is paused.
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


def default_frames(model: ModelName) -> int:
    """Frames that the model was trained on: of a segment, or of the whole video."""
    match model:
        case ModelName.ANIMATE:
            return AnimateRequest.segment_frames
        case ModelName.IMAGE_TO_VIDEO:
            return ImageToVideoRequest.frames
