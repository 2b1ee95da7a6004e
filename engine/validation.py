"""Refuses a request that cannot be run on a bundle, before it becomes a job."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.animate_validation import plan_animate
from wan_trt.engine.checks import check_number
from wan_trt.engine.errors import InputError
from wan_trt.engine.image_to_video_validation import plan_image_to_video
from wan_trt.engine.manifest import Manifest
from wan_trt.engine.mask_check import check_mask
from wan_trt.engine.noise import MAX_SEED
from wan_trt.engine.prompts import clean_prompt
from wan_trt.engine.request import (
    AnimateRequest,
    ImageToVideoRequest,
    Request,
    Sampling,
    SolverName,
    is_guided,
)
from wan_trt.engine.schedule import Schedule, make_schedule
from wan_trt.engine.segments import SegmentPlan

MAX_STEPS = 1000
MAX_GUIDANCE = 100.0
MAX_SHIFT = 1000.0


def validate_request(request: Request, manifest: Manifest) -> tuple[SegmentPlan, Schedule]:
    """The segments and the noise schedule of a valid request.

    Raises InputError naming the field at fault. Masks are scanned up to the first frames that show
    something and given noise is read once, segment by segment; nothing else is decoded.
    """
    plan = _plan(request, manifest)
    for field, prompt in (
        ("prompt", request.prompt),
        ("negative_prompt", request.negative_prompt),
    ):
        _check_prompt(field, prompt, manifest)
    schedule = check_sampling(request.sampling)
    _check_negative_prompt_counts(request, manifest)
    _check_seed(request)
    if request.noise is not None:
        for segment in plan.segments:
            read_noise(request, segment.index, latent_shape(request, manifest))
    if isinstance(request, AnimateRequest) and request.mask is not None:
        check_mask(request.mask)
    return plan, schedule


def _plan(request: Request, manifest: Manifest) -> SegmentPlan:
    if request.model is not manifest.model:
        raise InputError(
            f"a request for {request.model}",
            expected=f"one for {manifest.model}, the bundle's model",
            action="use another bundle",
        )
    match request:
        case AnimateRequest():
            return plan_animate(request, manifest.geometry)
        case ImageToVideoRequest():
            return plan_image_to_video(request, manifest.geometry)


def latent_shape(request: Request, manifest: Manifest) -> tuple[int, ...]:
    """[16, F, h, w] of a segment's latents; F includes the reference latent where there is one."""
    geometry = manifest.geometry
    return (
        geometry.latent_channels,
        (request.segment_frames - 1) // geometry.time_stride + 1 + request.reference_latents,
        request.height // geometry.space_stride,
        request.width // geometry.space_stride,
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
            expected=f"float32 {list(shape)} (channels, latents, h, w)",
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
    check_number("steps", sampling.steps, 1, MAX_STEPS, whole=True)
    check_number("shift", sampling.shift, 0, MAX_SHIFT, above=True)
    if len(sampling.guidance) != 2:
        raise InputError(
            f"{len(sampling.guidance)} values",
            expected="two, for the high and the low-noise expert",
            action="repeat a single value",
            field="guidance",
        )
    for value in sampling.guidance:
        check_number("guidance", value, 0, MAX_GUIDANCE)
    try:
        return make_schedule(sampling.solver, sampling.steps, sampling.shift)
    except ValueError:
        raise InputError(
            f"{sampling.shift} with {sampling.steps} steps",
            expected="noise levels that float32 can tell apart",
            action="use a shift between 1 and 20, or fewer steps",
            field="shift",
        ) from None


def _check_prompt(field: str, prompt: str | None, manifest: Manifest) -> None:
    if not prompt:
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


def _check_negative_prompt_counts(request: Request, manifest: Manifest) -> None:
    """Nothing reads a negative prompt without guidance: to take it would be a promise. The model's
    own one, written out, asks for nothing."""
    given = request.negative_prompt
    if not given or is_guided(request):
        return
    if clean_prompt(given) != clean_prompt(manifest.prompts.get("negative", "")):
        raise InputError(
            "given, but without guidance nothing reads it",
            expected="a guidance above 1 for an expert",
            action="leave it out, or set the guidance, e.g. to 3.5, which takes twice the time",
            field="negative_prompt",
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
