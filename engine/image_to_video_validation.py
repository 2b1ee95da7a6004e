"""What an image-to-video request must fulfil beyond what every request must."""

from __future__ import annotations

from wan_trt.engine.checks import (
    MAX_PIXELS,
    check_extent,
    check_length,
    check_number,
    check_picture,
)
from wan_trt.engine.errors import InputError
from wan_trt.engine.geometry import Geometry
from wan_trt.engine.request import ImageToVideoRequest
from wan_trt.engine.segments import SegmentPlan, plan_clip


def plan_image_to_video(request: ImageToVideoRequest, geometry: Geometry) -> SegmentPlan:
    """The one segment of a request whose pictures and size make sense. Raises InputError."""
    check_picture("reference", request.reference)
    check_number("area", request.area, geometry.pixel_multiple**2, MAX_PIXELS, whole=True)
    _check_size(request)
    check_number("frames", request.frames, 1, float("inf"), whole=True)
    plan = plan_clip(request.frames)
    check_length("frames", request.frames, request.reference_latents, geometry)
    if request.last_frame is not None:
        check_picture("last_frame", request.last_frame)
        if request.frames == 1:
            raise InputError(
                "given for a video of 1 frame",
                expected="5 frames or more, to come from the first picture to the last",
                action="ask for a longer video, or leave the last picture out",
                field="last_frame",
            )
    return plan


def _check_size(request: ImageToVideoRequest) -> None:
    if min(request.height, request.width) < 1:
        height, width = request.reference.shape[:2]
        raise InputError(
            f"a picture of {width}x{height} pixels",
            expected=f"an aspect that leaves 16 pixels a side in an area of {request.area}",
            action="crop it, or ask for a larger area",
            field="reference",
        )
    check_extent("area", request.height, request.width)
