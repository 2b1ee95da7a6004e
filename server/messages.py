"""Our types on the wire and back. Decoding refuses what this version does not understand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from wan_trt.engine.errors import InputError
from wan_trt.engine.request import Event, ExpertName, JobState, Mode, Sampling, SolverName
from wan_trt.server.proto import wan_trt_v1_pb2 as wire
from wan_trt.server.status import error_from_wire, error_to_wire
from wan_trt.server.submission import MEDIA_FIELDS, JobStatus, OutputFormat, Submission

_Number = TypeVar("_Number")
_Value = TypeVar("_Value")

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
    wire.JOB_STATE_DONE: JobState.DONE,
    wire.JOB_STATE_FAILED: JobState.FAILED,
    wire.JOB_STATE_CANCELLED: JobState.CANCELLED,
}
_EXPERTS = {wire.EXPERT_HIGH: ExpertName.HIGH, wire.EXPERT_LOW: ExpertName.LOW}


def submission_to_wire(submission: Submission) -> wire.SubmitRequest:
    """Raises InputError for numbers and texts that the wire cannot hold."""
    high, low = submission.sampling.guidance
    try:
        return wire.SubmitRequest(
            **{name: getattr(submission, name) or "" for name in MEDIA_FIELDS},
            mode=_number(_MODES, submission.mode),
            prompt=submission.prompt,
            negative_prompt=submission.negative_prompt,
            sampling=wire.Sampling(
                steps=submission.sampling.steps,
                solver=_number(_SOLVERS, submission.sampling.solver),
                shift=submission.sampling.shift,
                guidance=wire.Guidance(high=high, low=low),
            ),
            seed=submission.seed,
            segment_frames=submission.segment_frames,
            overlap=submission.overlap,
            output_format=_number(_FORMATS, submission.output_format),
            idempotency_key=submission.idempotency_key,
        )
    except (ValueError, TypeError) as error:
        raise InputError(
            f"the request cannot be sent ({error})",
            expected="numbers of 32 bits, a seed from 0 to 2^64-1, and valid Unicode text",
        ) from None


def submission_from_wire(message: wire.SubmitRequest) -> Submission:
    """Raises InputError for a missing file or an unknown choice."""
    for name in ("reference", "pose", "face"):
        if not getattr(message, name):
            raise InputError("missing", expected="an upload id", action="upload it", field=name)
    return Submission(
        reference=message.reference,
        pose=message.pose,
        face=message.face,
        background=message.background or None,
        mask=message.mask or None,
        noise=message.noise or None,
        mode=_choice(_MODES, message.mode, Mode.ANIMATE, "mode"),
        prompt=message.prompt if message.HasField("prompt") else None,
        negative_prompt=message.negative_prompt if message.HasField("negative_prompt") else None,
        sampling=_sampling(message.sampling),
        seed=message.seed,
        segment_frames=message.segment_frames if message.HasField("segment_frames") else 77,
        overlap=message.overlap if message.HasField("overlap") else 1,
        output_format=_choice(_FORMATS, message.output_format, OutputFormat.MP4, "output_format"),
        idempotency_key=message.idempotency_key,
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


def _sampling(message: wire.Sampling) -> Sampling:
    default = Sampling()
    guidance = message.guidance
    return Sampling(
        steps=message.steps if message.HasField("steps") else default.steps,
        solver=_choice(_SOLVERS, message.solver, default.solver, "solver"),
        shift=message.shift if message.HasField("shift") else default.shift,
        guidance=(guidance.high, guidance.low)
        if message.HasField("guidance")
        else default.guidance,
    )


def _choice(
    table: Mapping[_Number, _Value], number: _Number, default: _Value, field: str
) -> _Value:
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


def _number(table: Mapping[_Number, object], value: object) -> _Number:
    return next(number for number, ours in table.items() if ours is value)
