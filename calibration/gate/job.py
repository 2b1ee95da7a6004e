"""The jobs that the gate runs on both bundles: a made-up one, or those of a folder of samples."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wan_trt.calibration.gate.made_up_media import driver, picture
from wan_trt.calibration.samples import Sample, describe_request, read_samples
from wan_trt.engine.choices import SamplingChoices
from wan_trt.engine.errors import InputError
from wan_trt.engine.frames import ArrayFrames, FrameSource
from wan_trt.engine.manifest import Manifest
from wan_trt.engine.models import ModelName
from wan_trt.engine.request import AnimateRequest, ImageToVideoRequest, Request
from wan_trt.engine.segments import TIME_STRIDE
from wan_trt.engine.validation import validate_request

LEAST_SEGMENTS = 4
MADE_UP = "made up"
_STEPS, _SEGMENT_FRAMES, _HEIGHT, _WIDTH, _FACE = 4, 5, 64, 96, 64


@dataclass(frozen=True)
class JobOptions:
    """What is chosen goes before a sample's own settings. None leaves it to them, and then to the
    model; a made-up job has 4 steps and 96 x 64 pixels in segments of 5 frames, and a sample the
    longest segments that its clip is enough for, at most the model's 77. `size` is (width,
    height); a sample of Animate has its own."""

    steps: int | None = None
    segments: int = LEAST_SEGMENTS
    segment_frames: int | None = None
    size: tuple[int, int] | None = None
    guidance: tuple[float, float] | None = None
    seed: int | None = None


@dataclass(frozen=True)
class GateJob:
    """A request that can be run any number of times, and where its frames are cut to be judged:
    (start, stop) of each chained segment, or of as many parts of a video made in one pass.
    `sample` is the sample's name, empty where the job is made up."""

    request: Request
    cuts: tuple[tuple[int, int], ...]
    sample: str = ""

    @property
    def name(self) -> str:
        return self.sample or MADE_UP

    def describe(self) -> Mapping[str, Any]:
        """What was run, for a record."""
        return describe_request(self.request)


def made_up_job(manifest: Manifest, options: JobOptions) -> GateJob:
    """A job without media files: a drawn figure that moves. Raises InputError."""
    _check_segments(options)
    width, height = options.size or (_WIDTH, _HEIGHT)
    each = options.segment_frames or _SEGMENT_FRAMES
    frames = options.segments * (each - 1) + 1
    steps = _STEPS if options.steps is None else options.steps
    sampling = SamplingChoices(steps, guidance=options.guidance)
    request: Request
    match manifest.model:
        case ModelName.ANIMATE:
            pose, face = driver(frames, height, width, _FACE)
            plain = AnimateRequest(picture(height, width), ArrayFrames(pose), ArrayFrames(face))
            request = replace(plain, segment_frames=each)
        case ModelName.IMAGE_TO_VIDEO:
            request = ImageToVideoRequest(
                picture(height, width), frames=frames, area=width * height
            )
    request = replace(request, sampling=sampling.over(request.sampling), seed=options.seed or 0)
    return GateJob(request, _cuts(request, manifest, options.segments))


def sample_jobs(
    manifest: Manifest, folder: Path, options: JobOptions, resources: ExitStack
) -> tuple[GateJob, ...]:
    """A job for each sample of the folder (see samples.py). Files are closed with `resources`.
    Raises InputError or MediaError, also for a clip too short for the segments."""
    _check_segments(options)
    return tuple(
        _sample_job(manifest, sample, options, resources) for sample in read_samples(folder)
    )


def _sample_job(
    manifest: Manifest, sample: Sample, options: JobOptions, resources: ExitStack
) -> GateJob:
    """Raises InputError naming the sample."""
    animate = manifest.model is ModelName.ANIMATE
    changes = {
        "steps": options.steps,
        "guidance": options.guidance,
        "seed": options.seed,
        "segment_frames" if animate else "frames": options.segment_frames,
        "area": options.size and options.size[0] * options.size[1],
    }
    chosen = {name: value for name, value in changes.items() if value is not None}
    request = sample.open(manifest.model, resources, chosen)
    try:
        if isinstance(request, AnimateRequest):
            told = "segment_frames" in {*sample.settings, *chosen}
            request = _shortened(request, options.segments, request.segment_frames if told else 0)
        return GateJob(request, _cuts(request, manifest, options.segments), sample.name)
    except InputError as error:
        raise sample.error(error) from None


def _cuts(request: Request, manifest: Manifest, parts: int) -> tuple[tuple[int, int], ...]:
    """See `GateJob`. Raises InputError for a request that the bundle cannot do."""
    plan, _ = validate_request(request, manifest)
    if len(plan.segments) > 1:
        counts = [segment.kept for segment in plan.segments]
    else:
        if request.frame_count < parts:
            raise InputError(
                f"{request.frame_count} frames",
                expected=f"at least {parts}, to be judged in so many parts",
                action="ask for a longer video",
                field="frames",
            )
        counts = [len(part) for part in np.array_split(np.arange(request.frame_count), parts)]
    stops = np.cumsum(counts).tolist()
    return tuple((stop - count, stop) for stop, count in zip(stops, counts, strict=True))


def _shortened(request: AnimateRequest, segments: int, segment_frames: int) -> AnimateRequest:
    """The request with the driver's first frames: as many as make `segments` segments of
    `segment_frames`, 0 the longest that the clip is enough for."""
    given, overlap = request.pose.count, request.overlap
    longest = (given - overlap) // segments + overlap
    longest = (longest - 1) // TIME_STRIDE * TIME_STRIDE + 1
    each = segment_frames or max(min(request.segment_frames, longest), overlap + TIME_STRIDE)
    count = segments * (each - overlap) + overlap
    if count > given:
        raise InputError(
            f"{given} frames",
            expected=f"at least {count} for {segments} segments",
            action="give a longer clip",
            field="pose",
        )
    background, mask = request.background, request.mask
    return replace(
        request,
        pose=FirstFrames(request.pose, count),
        face=FirstFrames(request.face, count),
        background=None if background is None else FirstFrames(background, count),
        mask=None if mask is None else FirstFrames(mask, count),
        segment_frames=each,
    )


class FirstFrames:
    """The beginning of another source, which stays its opener's to close."""

    def __init__(self, source: FrameSource, count: int) -> None:
        self._source = source
        self.count = min(count, source.count)
        self.height, self.width = source.height, source.width
        self.rate: Fraction | None = source.rate

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        return self._source.read(start, min(stop, self.count))

    def close(self) -> None:
        """Nothing of its own is open."""


def _check_segments(options: JobOptions) -> None:
    if options.segments < LEAST_SEGMENTS:
        raise InputError(
            f"{options.segments}",
            expected=f"{LEAST_SEGMENTS} or more: errors add up from segment to segment",
            action="ask for more segments",
            field="segments",
        )
