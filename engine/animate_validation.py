"""What an Animate request must fulfil beyond what every request must."""

from __future__ import annotations

from wan_trt.engine.checks import MAX_SIDE, check_extent, check_length, check_picture
from wan_trt.engine.errors import InputError
from wan_trt.engine.frames import FrameSource
from wan_trt.engine.geometry import Geometry
from wan_trt.engine.letterbox import Letterbox
from wan_trt.engine.request import AnimateRequest, Mode
from wan_trt.engine.segments import SegmentPlan, plan_segments


def plan_animate(request: AnimateRequest, geometry: Geometry) -> SegmentPlan:
    """The segments of a request whose media fit together. Raises InputError; reads no frames."""
    _check_pose(request.pose, geometry)
    plan = plan_segments(request.pose.count, request.segment_frames, request.overlap)
    check_length("segment_frames", request.segment_frames, request.reference_latents, geometry)
    _check_reference(request)
    _check_face(request)
    _check_mode(request)
    return plan


def _size(source: FrameSource) -> str:
    return f"{source.width}x{source.height}"


def _check_pose(pose: FrameSource, geometry: Geometry) -> None:
    multiple = geometry.pixel_multiple
    width, height = pose.width, pose.height
    if width < multiple or height < multiple or width % multiple or height % multiple:
        raise InputError(
            f"{_size(pose)} pixels",
            expected=f"multiples of {multiple}",
            action="resize the driving video",
            field="pose",
        )
    check_extent("pose", height, width)


def _check_reference(request: AnimateRequest) -> None:
    image = request.reference
    check_picture("reference", image)
    height, width, _ = image.shape
    Letterbox(height, width, request.height, request.width, field="reference")  # may refuse


def _check_count(field: str, source: FrameSource, pose: FrameSource) -> None:
    if source.count != pose.count:
        raise InputError(
            f"{source.count} frames",
            expected=f"{pose.count}, as many as the pose video",
            action="cut all driving videos to one length",
            field=field,
        )


def _check_face(request: AnimateRequest) -> None:
    face = request.face
    _check_count("face", face, request.pose)
    if face.height != face.width or not 1 <= face.width <= MAX_SIDE:
        raise InputError(
            f"{_size(face)} pixels",
            expected=f"square crops, at most {MAX_SIDE} a side",
            action="crop the face to a square",
            field="face",
        )


def _check_mode(request: AnimateRequest) -> None:
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
        _check_count(field, source, request.pose)
        if (source.height, source.width) != (request.pose.height, request.pose.width):
            raise InputError(
                f"{_size(source)} pixels",
                expected=f"{_size(request.pose)}, the size of the pose video",
                action="resize it",
                field=field,
            )
