"""Our types on the wire and back. Decoding refuses what this version does not understand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from wan_trt.engine.choices import RequestChoices, SamplingChoices
from wan_trt.engine.errors import InputError
from wan_trt.engine.request import Event, ExpertName, JobState, Mode, SolverName
from wan_trt.server.proto import wan_trt_v1_pb2 as wire
from wan_trt.server.status import error_from_wire, error_to_wire
from wan_trt.server.submission import MEDIA_FIELDS, JobStatus, OutputFormat, Submission

_Number = TypeVar("_Number")
_Value = TypeVar("_Value")
_Default = TypeVar("_Default")

_MODES = {wire.MODE_ANIMATE: Mode.ANIMATE, wire.MODE_REPLACE: Mode.REPLACE}
_SOLVERS = {
    wire.SOLVER_UNIPC: SolverName.UNIPC,
    wire.SOLVER_DPMPP: SolverName.DPMPP,
    wire.SOLVER_EULER: SolverName.EULER,
}
_FORMATS = {
    wire.OUTPUT_FORMAT_MP4: OutputFormat.MP4,
    wire.OUTPUT_FORMAT_FLOAT32: OutputFormat.FLOAT32,
    wire.OUTPUT_FORMAT_UINT8: OutputFormat.UINT8,
}
_STATES = {
    wire.JOB_STATE_QUEUED: JobState.QUEUED,
    wire.JOB_STATE_RUNNING: JobState.RUNNING,
    wire.JOB_STATE_PAUSED: JobState.PAUSED,
    wire.JOB_STATE_DONE: JobState.DONE,
    wire.JOB_STATE_FAILED: JobState.FAILED,
    wire.JOB_STATE_CANCELLED: JobState.CANCELLED,
}
_EXPERTS = {wire.EXPERT_HIGH: ExpertName.HIGH, wire.EXPERT_LOW: ExpertName.LOW}


def submission_to_wire(submission: Submission) -> wire.SubmitRequest:
    """Raises InputError for numbers and texts that the wire cannot hold."""
    choices, sampling = submission.choices, submission.choices.sampling
    media: dict[str, Any] = {name: getattr(submission, name) or "" for name in MEDIA_FIELDS}
    try:
        return wire.SubmitRequest(
            **media,
            mode=_number(_MODES, choices.mode),
            prompt=choices.prompt,
            negative_prompt=choices.negative_prompt,
            sampling=wire.Sampling(
                steps=sampling.steps,
                solver=_number(_SOLVERS, sampling.solver),
                shift=sampling.shift,
                guidance=_guidance(sampling.guidance),
            ),
            seed=choices.seed,
            segment_frames=choices.segment_frames,
            overlap=choices.overlap,
            frames=choices.frames,
            area=choices.area,
            output_format=_number(_FORMATS, submission.output_format),
            idempotency_key=submission.idempotency_key,
            timeout_s=submission.timeout_s,
        )
    except (ValueError, TypeError) as error:
        raise InputError(
            f"the request cannot be sent ({error})",
            expected="numbers of 32 bits, a seed from 0 to 2^64-1, and valid Unicode text",
        ) from None


def submission_from_wire(message: wire.SubmitRequest) -> Submission:
    """Raises InputError for a missing reference or an unknown choice."""
    if not message.reference:
        raise InputError("missing", expected="an upload id", action="upload it", field="reference")
    media: dict[str, Any] = {name: getattr(message, name) or None for name in MEDIA_FIELDS}
    return Submission(
        **media,
        choices=RequestChoices(
            prompt=_optional(message, "prompt"),
            negative_prompt=_optional(message, "negative_prompt"),
            sampling=_sampling(message.sampling),
            seed=_optional(message, "seed"),
            mode=_choice(_MODES, message.mode, None, "mode"),
            segment_frames=_optional(message, "segment_frames"),
            overlap=_optional(message, "overlap"),
            frames=_optional(message, "frames"),
            area=_optional(message, "area"),
        ),
        output_format=_choice(_FORMATS, message.output_format, OutputFormat.MP4, "output_format"),
        idempotency_key=message.idempotency_key,
        timeout_s=_timeout_s(message),
    )


def event_to_wire(event: Event) -> wire.Event:
    return wire.Event(
        sequence=event.sequence,
        job_id=event.job_id,
        state=_number(_STATES, event.state),
        stage=event.stage,
        segment=event.segment,
        segments=event.segments,
        step=event.step,
        steps=event.steps,
        timestep=event.timestep,
        expert=_number(_EXPERTS, event.expert) if event.expert else wire.EXPERT_UNSPECIFIED,
        frames=event.frames,
        total_frames=event.total_frames,
        elapsed_s=event.elapsed_s,
        eta_s=event.eta_s,
        error=error_to_wire(event.error) if event.error is not None else None,
    )


def event_from_wire(message: wire.Event) -> Event:
    """States of a later version count as running."""
    return Event(
        sequence=message.sequence,
        job_id=message.job_id,
        state=_STATES.get(message.state, JobState.RUNNING),
        stage=message.stage,
        segment=message.segment,
        segments=message.segments,
        step=message.step,
        steps=message.steps,
        timestep=message.timestep,
        expert=_EXPERTS.get(message.expert),
        frames=message.frames,
        total_frames=message.total_frames,
        elapsed_s=message.elapsed_s,
        eta_s=message.eta_s if message.HasField("eta_s") else None,
        error=error_from_wire(message.error) if message.HasField("error") else None,
    )


def status_to_wire(status: JobStatus) -> wire.Job:
    return wire.Job(
        job_id=status.job_id,
        state=_number(_STATES, status.state),
        output_format=_number(_FORMATS, status.output_format),
        result_nbytes=status.result_nbytes,
        latest=event_to_wire(status.latest),
    )


def status_from_wire(message: wire.Job) -> JobStatus:
    return JobStatus(
        job_id=message.job_id,
        state=_STATES.get(message.state, JobState.RUNNING),
        output_format=_FORMATS.get(message.output_format, OutputFormat.MP4),
        result_nbytes=message.result_nbytes,
        latest=event_from_wire(message.latest),
    )


def _timeout_s(message: wire.SubmitRequest) -> float | None:
    timeout_s: float | None = _optional(message, "timeout_s")
    if timeout_s is not None and not 0 < timeout_s < float("inf"):
        raise InputError(f"{timeout_s} seconds", expected="more than 0", field="timeout_s")
    return timeout_s


def _guidance(guidance: tuple[float, float] | None) -> wire.Guidance | None:
    return None if guidance is None else wire.Guidance(high=guidance[0], low=guidance[1])


def _sampling(message: wire.Sampling) -> SamplingChoices:
    guidance = message.guidance
    return SamplingChoices(
        steps=_optional(message, "steps"),
        solver=_choice(_SOLVERS, message.solver, None, "solver"),
        shift=_optional(message, "shift"),
        guidance=(guidance.high, guidance.low) if message.HasField("guidance") else None,
    )


def _optional(message: wire.SubmitRequest | wire.Sampling, field: str) -> Any:
    """The value of an `optional` field, None where it was not given."""
    return getattr(message, field) if message.HasField(field) else None


def _choice(
    table: Mapping[_Number, _Value], number: _Number, default: _Default, field: str
) -> _Value | _Default:
    if not number:  # UNSPECIFIED
        return default
    if number not in table:
        raise InputError(
            f"value {number}",
            expected=f"one of {', '.join(f'{key} ({value})' for key, value in table.items())}",
            action="update the server, or choose one of them",
            field=field,
        )
    return table[number]


def _number(table: Mapping[_Number, object], value: object) -> _Number | None:
    """What stands for `value`; None where it was left to the server."""
    return next((number for number, ours in table.items() if ours is value), None)
