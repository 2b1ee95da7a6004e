"""Submissions on the wire and back. Decoding refuses what this version does not understand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from wan_trt.engine.choices import RequestChoices, SamplingChoices
from wan_trt.engine.errors import InputError
from wan_trt.engine.request import Mode, SolverName
from wan_trt.preprocess.driver import DriverChoices, MaskSource
from wan_trt.server.messages import FORMATS
from wan_trt.server.proto import wan_trt_v1_pb2 as wire
from wan_trt.server.submission import DRIVER_FIELDS, MEDIA_FIELDS, OutputFormat, Submission
from wan_trt.server.wire_values import choice, number_of, optional, rate_from_wire, rate_to_wire

MAX_LABELS = 32
MAX_KEY = 63
MAX_VALUE = 255
MAX_TITLE = 200

_MODES = {wire.MODE_ANIMATE: Mode.ANIMATE, wire.MODE_REPLACE: Mode.REPLACE}
SOLVERS = {
    wire.SOLVER_UNIPC: SolverName.UNIPC,
    wire.SOLVER_DPMPP: SolverName.DPMPP,
    wire.SOLVER_EULER: SolverName.EULER,
}
_MASKS = {wire.MASK_SOURCE_SAM2: MaskSource.SAM2, wire.MASK_SOURCE_BOX: MaskSource.BOX}
# Media that lie in the message `preparation`.
_IN_PREPARATION = ("reference_keypoints", "edited_driver", "edited_character")


def submission_to_wire(submission: Submission) -> wire.SubmitRequest:
    """Raises InputError for numbers and texts that the wire cannot hold."""
    choices, sampling = submission.choices, submission.choices.sampling
    media: dict[str, Any] = {
        name: getattr(submission, name) or ""
        for name in MEDIA_FIELDS
        if name not in _IN_PREPARATION
    }
    try:
        return wire.SubmitRequest(
            **media,
            mode=number_of(_MODES, choices.mode),
            prompt=choices.prompt,
            negative_prompt=choices.negative_prompt,
            sampling=wire.Sampling(
                steps=sampling.steps,
                solver=number_of(SOLVERS, sampling.solver),
                shift=sampling.shift,
                guidance=_guidance(sampling.guidance),
            ),
            seed=choices.seed,
            segment_frames=choices.segment_frames,
            overlap=choices.overlap,
            frames=choices.frames,
            area=choices.area,
            output_format=number_of(FORMATS, submission.output_format),
            idempotency_key=submission.idempotency_key,
            timeout_s=submission.timeout_s,
            preparation=_preparation_to_wire(submission),
            bundle=submission.bundle,
            priority=None if submission.priority == 1 else submission.priority,
            title=submission.title,
            labels=submission.labels,
        )
    except (ValueError, TypeError) as error:
        raise InputError(
            f"the request cannot be sent ({error})",
            expected="numbers of 32 bits, a seed from 0 to 2^64-1, and valid Unicode text",
        ) from None


def holder(message: wire.SubmitRequest, name: str) -> wire.SubmitRequest | wire.Preparation:
    """The message that has the medium `name` as its field."""
    return message.preparation if name in _IN_PREPARATION else message


def media_of(message: wire.SubmitRequest) -> dict[str, str]:
    """What each medium of a submission names; empty where there is none."""
    return {name: getattr(holder(message, name), name) for name in MEDIA_FIELDS}


def submission_from_wire(message: wire.SubmitRequest) -> Submission:
    """Raises InputError for a missing reference, an unknown choice, or what has no meaning
    together."""
    if not message.reference:
        raise InputError("missing", expected="an upload id", action="upload it", field="reference")
    media: dict[str, Any] = {name: text or None for name, text in media_of(message).items()}
    _check_driver(message, media)
    _check_labels(message)
    return Submission(
        **media,
        choices=RequestChoices(
            prompt=optional(message, "prompt"),
            negative_prompt=optional(message, "negative_prompt"),
            sampling=_sampling(message.sampling),
            seed=optional(message, "seed"),
            mode=choice(_MODES, message.mode, None, "mode"),
            segment_frames=optional(message, "segment_frames"),
            overlap=optional(message, "overlap"),
            frames=optional(message, "frames"),
            area=optional(message, "area"),
        ),
        preparation=_preparation(message.preparation),
        output_format=choice(FORMATS, message.output_format, OutputFormat.MP4, "output_format"),
        idempotency_key=message.idempotency_key,
        timeout_s=_positive(optional(message, "timeout_s"), "timeout_s", "seconds"),
        bundle=message.bundle,
        priority=_positive(optional(message, "priority"), "priority") or 1.0,
        title=message.title,
        labels=dict(message.labels),
    )


def _check_driver(message: wire.SubmitRequest, media: Mapping[str, str | None]) -> None:
    """Either a driving video, or what was made of one."""
    if media["video"] is None:
        stray = [name for name in DRIVER_FIELDS if media[name]]
        if message.HasField("preparation"):
            stray.append("preparation")
        if stray:
            raise InputError(
                "given without a driving video",
                expected="a `video` that it is about",
                action="send the video, or leave it out",
                field=stray[0],
            )
        return
    for name in ("pose", "face", "background", "mask"):
        if media[name]:
            raise InputError(
                "given together with `video`",
                expected="one of the two: it is made from the driving video",
                action="leave one of them out",
                field=name,
            )


def _check_labels(message: wire.SubmitRequest) -> None:
    labels = message.labels
    wrong = [
        key
        for key, value in labels.items()
        if not 0 < len(key) <= MAX_KEY or len(value) > MAX_VALUE
    ]
    if len(labels) > MAX_LABELS or wrong:
        raise InputError(
            f"{len(labels)} labels" + (f", one of them {wrong[0][:100]!r}" if wrong else ""),
            expected=f"at most {MAX_LABELS}, keys of 1 to {MAX_KEY} characters and values of at "
            f"most {MAX_VALUE}",
            action="leave some out, or shorten them",
            field="labels",
        )
    if len(message.title) > MAX_TITLE:
        raise InputError(
            f"{len(message.title)} characters",
            expected=f"at most {MAX_TITLE}",
            action="shorten it",
            field="title",
        )


def _preparation_to_wire(submission: Submission) -> wire.Preparation | None:
    made = submission.preparation
    files = {name: getattr(submission, name) or "" for name in _IN_PREPARATION}
    if made == DriverChoices() and not any(files.values()):
        return None
    height, width = (None, None) if made.size is None else made.size
    place = made.person
    return wire.Preparation(
        reference_keypoints=files["reference_keypoints"],
        edited_driver=files["edited_driver"],
        edited_character=files["edited_character"],
        point=wire.Point(x=place[0], y=place[1]) if place is not None and len(place) == 2 else None,
        box=wire.Box(left=place[0], top=place[1], right=place[2], bottom=place[3])
        if place is not None and len(place) == 4
        else None,
        retarget=made.retarget,
        mask_from=number_of(_MASKS, made.mask_from),
        smooth_points_s=made.smooth_points_s,
        smooth_faces_s=made.smooth_faces_s,
        face_size=None if made.face_size == DriverChoices.face_size else made.face_size,
        rate=rate_to_wire(made.rate),
        width=width,
        height=height,
    )


def _preparation(message: wire.Preparation) -> DriverChoices:
    person: tuple[float, ...] | None = None
    match message.WhichOneof("person"):
        case "point":
            person = message.point.x, message.point.y
        case "box":
            box = message.box
            person = box.left, box.top, box.right, box.bottom
    width, height = optional(message, "width"), optional(message, "height")
    if (width is None) != (height is None):
        raise InputError(
            "a width or a height alone",
            expected="both, or none",
            action="give the other one too",
            field="width" if width is None else "height",
        )
    face_size = optional(message, "face_size")
    return DriverChoices(
        person=person,
        retarget=message.retarget,
        mask_from=choice(_MASKS, message.mask_from, None, "mask_from"),
        smooth_points_s=message.smooth_points_s,
        smooth_faces_s=message.smooth_faces_s,
        face_size=DriverChoices.face_size if face_size is None else face_size,
        rate=rate_from_wire(optional(message, "rate"), "rate"),
        size=None if width is None else (height, width),
    )


def _positive(value: float | None, field: str, unit: str = "") -> float | None:
    if value is not None and not 0 < value < math.inf:
        raise InputError(f"{value} {unit}".strip(), expected="more than 0", field=field)
    return value


def _guidance(guidance: tuple[float, float] | None) -> wire.Guidance | None:
    return None if guidance is None else wire.Guidance(high=guidance[0], low=guidance[1])


def _sampling(message: wire.Sampling) -> SamplingChoices:
    guidance = message.guidance
    return SamplingChoices(
        steps=optional(message, "steps"),
        solver=choice(SOLVERS, message.solver, None, "solver"),
        shift=optional(message, "shift"),
        guidance=(guidance.high, guidance.low) if message.HasField("guidance") else None,
    )
