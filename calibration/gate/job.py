"""The job that the gate runs on both bundles, from media of its own or from a folder's."""

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
from wan_trt.engine.choices import RequestChoices, SamplingChoices
from wan_trt.engine.errors import InputError
from wan_trt.engine.frames import ArrayFrames, FrameSource
from wan_trt.engine.manifest import Manifest
from wan_trt.engine.models import ModelName
from wan_trt.engine.request import AnimateRequest, ImageToVideoRequest, Mode, Request
from wan_trt.engine.segments import TIME_STRIDE
from wan_trt.engine.validation import validate_request
from wan_trt.media import RequestFiles, open_request

LEAST_SEGMENTS = 4
MADE_UP = "made up"
_STEPS, _SEGMENT_FRAMES, _HEIGHT, _WIDTH, _FACE = 4, 5, 64, 96, 64


@dataclass(frozen=True)
class JobOptions:
    """None leaves a size to the media: 4 steps and 96 x 64 pixels in segments of 5 frames where
    they are made up, else the model's own steps and the longest segments that a clip is enough
    for, at most the model's 77. `size` is (width, height), for Animate only without a folder.
    """

    steps: int | None = None
    segments: int = LEAST_SEGMENTS
    segment_frames: int | None = None
    size: tuple[int, int] | None = None
    guidance: tuple[float, float] | None = None
    seed: int = 0


@dataclass(frozen=True)
class GateJob:
    """A request that can be run any number of times, and where its frames are cut to be judged:
    (start, stop) of each chained segment, or of as many parts of a video made in one pass."""

    request: Request
    cuts: tuple[tuple[int, int], ...]
    inputs: str

    def describe(self) -> Mapping[str, Any]:
        """What was run, for a record."""
        request = self.request
        return {
            "inputs": self.inputs,
            "frames": request.frame_count,
            "width": request.width,
            "height": request.height,
            "segment_frames": request.segment_frames,
            "steps": request.sampling.steps,
            "solver": request.sampling.solver.value,
            "shift": request.sampling.shift,
            "guidance": list(request.sampling.guidance),
            "seed": request.seed,
        }


def made_up_job(manifest: Manifest, options: JobOptions) -> GateJob:
    """A job without media files: a drawn figure that moves. Raises InputError."""
    _check_segments(options)
    width, height = options.size or (_WIDTH, _HEIGHT)
    each = options.segment_frames or _SEGMENT_FRAMES
    frames = options.segments * (each - 1) + 1
    sampling = SamplingChoices(options.steps or _STEPS, guidance=options.guidance)
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
    request = replace(request, sampling=sampling.over(request.sampling), seed=options.seed)
    return _job(request, manifest, options, MADE_UP)


def folder_job(
    manifest: Manifest, folder: Path, options: JobOptions, resources: ExitStack
) -> GateJob:
    """A job from src_ref, src_pose, src_face, src_bg and src_mask as `wan-trt preprocess` writes
    them, and noise.safetensors instead of a seed where it is there. Files are closed with
    `resources`. Raises InputError or MediaError."""
    _check_segments(options)
    if not folder.is_dir():
        raise InputError(
            f"{folder} is no folder",
            expected="a folder that `wan-trt preprocess` wrote",
            action="check the path",
            field="inputs",
        )
    noise = _file(folder, "noise")
    files = RequestFiles(
        reference=_file(folder, "src_ref") or folder / "src_ref.png",
        pose=_file(folder, "src_pose"),
        face=_file(folder, "src_face"),
        background=_file(folder, "src_bg"),
        mask=_file(folder, "src_mask"),
        noise=noise,
    )
    animate = manifest.model is ModelName.ANIMATE
    choices = RequestChoices(
        sampling=SamplingChoices(steps=options.steps, guidance=options.guidance),
        seed=None if noise else options.seed,
        mode=Mode.REPLACE if animate and files.background else None,
        frames=None if animate else options.segment_frames,
        area=None if animate or not options.size else options.size[0] * options.size[1],
    )
    request = open_request(manifest.model, files, choices, resources)
    if isinstance(request, AnimateRequest):
        request = _shortened(request, options)
    return _job(request, manifest, options, folder.name)


def _job(request: Request, manifest: Manifest, options: JobOptions, inputs: str) -> GateJob:
    plan, _ = validate_request(request, manifest)
    if len(plan.segments) > 1:
        counts = [segment.kept for segment in plan.segments]
    else:
        parts = np.array_split(np.arange(request.frame_count), options.segments)
        counts = [len(part) for part in parts]
    stops = np.cumsum(counts).tolist()
    cuts = tuple((stop - count, stop) for stop, count in zip(stops, counts, strict=True))
    return GateJob(request, cuts, inputs)


def _shortened(request: AnimateRequest, options: JobOptions) -> AnimateRequest:
    """The request with the driver's first frames: as many as make `segments` full segments."""
    most = (request.pose.count - 1) // options.segments // TIME_STRIDE * TIME_STRIDE + 1
    each = options.segment_frames or min(request.segment_frames, most)
    if not 1 < each <= most:
        raise InputError(
            f"{request.pose.count} frames",
            expected=f"at least {options.segments * max(TIME_STRIDE, each - 1) + 1} for "
            f"{options.segments} segments",
            action="give a longer clip",
            field="inputs",
        )
    count = options.segments * (each - 1) + 1
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


def _file(folder: Path, stem: str) -> Path | None:
    return next(iter(sorted(folder.glob(f"{stem}.*"))), None)


def _check_segments(options: JobOptions) -> None:
    if options.segments < LEAST_SEGMENTS:
        raise InputError(
            f"{options.segments}",
            expected=f"{LEAST_SEGMENTS} or more: errors add up from segment to segment",
            action="ask for more segments",
            field="segments",
        )
