"""Refuses a request that cannot be run on a bundle, before it becomes a job."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.bundle import Manifest
from wan_trt.engine.errors import InputError
from wan_trt.engine.frames import FrameSource
from wan_trt.engine.noise import MAX_SEED
from wan_trt.engine.pixels import letterbox_size
from wan_trt.engine.request import Mode, Request, Sampling, SolverName
from wan_trt.engine.rope import POSITIONS
from wan_trt.engine.schedule import Schedule, make_schedule
from wan_trt.engine.segments import SegmentPlan, plan_segments

MAX_SIDE = 8192
MAX_PIXELS = 4096 * 2304
MAX_REFERENCE_SIDE = 16384
MAX_STEPS = 1000
MAX_GUIDANCE = 100.0
MAX_SHIFT = 1000.0
SCAN_FRAMES = 16


def validate_request(request: Request, manifest: Manifest) -> tuple[SegmentPlan, Schedule]:
    """The segments and the noise schedule of a valid request.

    Raises InputError naming the field at fault. Masks are scanned up to their first white pixel
    and given noise is read once, segment by segment; nothing else is decoded.
    """
    _check_pose(request.pose, manifest)
    plan = plan_segments(request.pose.count, request.segment_frames, request.overlap)
    _check_segment_length(request, manifest)
    _check_reference(request)
    _check_face(request)
    _check_mode(request)
    for field, prompt in (
        ("prompt", request.prompt),
        ("negative_prompt", request.negative_prompt),
    ):
        _check_prompt(field, prompt, manifest)
    schedule = check_sampling(request.sampling)
    _check_seed(request)
    if request.noise is not None:
        for segment in plan.segments:
            read_noise(request, segment.index, latent_shape(request, manifest))
    if request.mode is Mode.REPLACE and request.mask is not None:
        _check_mask_shows(request.mask)
    return plan, schedule


def latent_shape(request: Request, manifest: Manifest) -> tuple[int, ...]:
    """[16, F, h, w] of a segment's latents, the reference latent included in F."""
    geometry = manifest.geometry
    return (
        geometry.latent_channels,
        (request.segment_frames - 1) // geometry.time_stride + 2,
        request.pose.height // geometry.space_stride,
        request.pose.width // geometry.space_stride,
    )


def read_noise(request: Request, index: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The request's own noise for one segment. Raises InputError where it does not fit."""
    if request.noise is None:
        raise ValueError("the request has no noise of its own")
    try:
        noise = request.noise.segment(index, shape)
    except LookupError:
        raise InputError(
            f"there is no noise for segment {index}",
            expected=f"float32 {list(shape)} for every segment",
            action="add it, or give a seed instead",
            field="noise",
        ) from None
    if noise.dtype != np.float32 or noise.shape != shape:
        raise InputError(
            f"segment {index} is {noise.dtype} {list(noise.shape)}",
            expected=f"float32 {list(shape)} (channels, latents with the reference, h, w)",
            action="make noise for this size and segment length",
            field="noise",
        )
    if not np.isfinite(noise).all():
        raise InputError(
            f"segment {index} holds NaN or infinity",
            expected="finite values",
            action="draw it again",
            field="noise",
        )
    return noise


def check_sampling(sampling: Sampling) -> Schedule:
    """The schedule of valid sampling settings. Raises InputError."""
    if not isinstance(sampling.solver, SolverName):
        raise InputError(
            f"{sampling.solver!r}",
            expected=" or ".join(name.value for name in SolverName),
            action="choose one of them",
            field="solver",
        )
    _check_number("steps", sampling.steps, 1, MAX_STEPS, whole=True)
    _check_number("shift", sampling.shift, 0, MAX_SHIFT, above=True)
    if len(sampling.guidance) != 2:
        raise InputError(
            f"{len(sampling.guidance)} values",
            expected="two, for the high and the low-noise expert",
            action="repeat a single value",
            field="guidance",
        )
    for value in sampling.guidance:
        _check_number("guidance", value, 0, MAX_GUIDANCE)
    try:
        return make_schedule(sampling.solver, sampling.steps, sampling.shift)
    except ValueError:
        raise InputError(
            f"{sampling.shift} with {sampling.steps} steps",
            expected="noise levels that float32 can tell apart",
            action="use a shift between 1 and 20, or fewer steps",
            field="shift",
        ) from None


def _check_number(
    field: str, value: float, low: float, high: float, *, whole: bool = False, above: bool = False
) -> None:
    right = isinstance(value, int) if whole else isinstance(value, (int, float))
    if (
        not right
        or isinstance(value, bool)
        or not math.isfinite(value)
        or not low <= value <= high
        or (above and value == low)
    ):
        kind = "a whole number" if whole else "a number"
        bounds = f"above {low}, at most {high}" if above else f"from {low} to {high}"
        raise InputError(f"{value!r}", expected=f"{kind} {bounds}", action="change it", field=field)


def _size(source: FrameSource) -> str:
    return f"{source.width}x{source.height}"


def _check_pose(pose: FrameSource, manifest: Manifest) -> None:
    multiple = manifest.geometry.pixel_multiple
    width, height = pose.width, pose.height
    if width < multiple or height < multiple or width % multiple or height % multiple:
        raise InputError(
            f"{_size(pose)} pixels",
            expected=f"multiples of {multiple}",
            action="resize the driving video",
            field="pose",
        )
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise InputError(
            f"{_size(pose)} pixels",
            expected=f"at most {MAX_SIDE} a side and {MAX_PIXELS} in all",
            action="resize the driving video; the model was made for 1280x720",
            field="pose",
        )


def _check_segment_length(request: Request, manifest: Manifest) -> None:
    most = (POSITIONS - 2) * manifest.geometry.time_stride + 1
    if request.segment_frames > most:
        raise InputError(
            f"{request.segment_frames} frames",
            expected=f"at most {most}, the model's last position",
            action="use 77, the length it was trained on",
            field="segment_frames",
        )


def _check_reference(request: Request) -> None:
    image = request.reference
    if (
        not isinstance(image, np.ndarray)
        or image.dtype != np.uint8
        or image.ndim != 3
        or image.shape[2] != 3
        or not 0 < max(image.shape[:2]) <= MAX_REFERENCE_SIDE
        or min(image.shape[:2]) < 1
    ):
        found = (
            f"{image.dtype} {list(image.shape)}"
            if isinstance(image, np.ndarray)
            else type(image).__name__
        )
        raise InputError(
            found,
            expected=f"uint8 [height, width, 3], at most {MAX_REFERENCE_SIDE} pixels a side",
            action="convert the picture to 8-bit RGB",
            field="reference",
        )
    height, width = image.shape[0], image.shape[1]
    if min(letterbox_size(height, width, request.pose.height, request.pose.width)) < 1:
        raise InputError(
            f"a picture of {width}x{height} pixels",
            expected=f"one that still shows when fitted into {_size(request.pose)}",
            action="crop it",
            field="reference",
        )


def _check_length(field: str, source: FrameSource, pose: FrameSource) -> None:
    if source.count != pose.count:
        raise InputError(
            f"{source.count} frames",
            expected=f"{pose.count}, as many as the pose video",
            action="cut all driving videos to one length",
            field=field,
        )


def _check_face(request: Request) -> None:
    face = request.face
    _check_length("face", face, request.pose)
    if face.height != face.width or not 1 <= face.width <= MAX_SIDE:
        raise InputError(
            f"{_size(face)} pixels",
            expected=f"square crops, at most {MAX_SIDE} a side",
            action="crop the face to a square",
            field="face",
        )


def _check_mode(request: Request) -> None:
    if not isinstance(request.mode, Mode):
        raise InputError(f"{request.mode!r}", expected="animate or replace", field="mode")
    for field, source in (("background", request.background), ("mask", request.mask)):
        if request.mode is Mode.ANIMATE:
            if source is not None:
                raise InputError(
                    "given in animate mode",
                    expected="none",
                    action="leave it out, or choose replace mode",
                    field=field,
                )
            continue
        if source is None:
            raise InputError(
                "missing in replace mode",
                expected="a background and a mask video",
                action="give both, or choose animate mode",
                field=field,
            )
        _check_length(field, source, request.pose)
        if (source.height, source.width) != (request.pose.height, request.pose.width):
            raise InputError(
                f"{_size(source)} pixels",
                expected=f"{_size(request.pose)}, the size of the pose video",
                action="resize it",
                field=field,
            )


def _check_prompt(field: str, prompt: str | None, manifest: Manifest) -> None:
    if prompt is None:
        return
    try:
        prompt.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(
            "not valid Unicode text", expected="text", action="retype it", field=field
        ) from None
    if "text_encoder" not in manifest.graphs:
        raise InputError(
            "given, but the bundle has no text encoder",
            expected="none: the model's own prompt is used",
            action="leave it out, or export the bundle with the text encoder",
            field=field,
        )


def _check_seed(request: Request) -> None:
    seed = request.seed
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= MAX_SEED:
        raise InputError(
            f"{seed!r}",
            expected=f"a whole number from 0 to {MAX_SEED}",
            action="choose another",
            field="seed",
        )


def _check_mask_shows(mask: FrameSource) -> None:
    """Upstream crashes on a mask without a white pixel; here it is an error of its own."""
    for start in range(0, mask.count, SCAN_FRAMES):
        if mask.read(start, min(start + SCAN_FRAMES, mask.count))[..., 0].any():
            return
    raise InputError(
        "the mask is empty: nothing to replace",
        expected="white where the person is",
        action="check the mask video, or choose animate mode",
        field="mask",
    )
