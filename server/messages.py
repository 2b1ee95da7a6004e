"""Events and jobs on the wire and back."""

from __future__ import annotations

from wan_trt.engine.request import Event, ExpertName, JobState
from wan_trt.server.proto import wan_trt_v1_pb2 as wire
from wan_trt.server.status import error_from_wire, error_to_wire
from wan_trt.server.submission import JobStatus, OutputFormat, VideoFormat
from wan_trt.server.wire_values import (
    number_of,
    optional,
    rate_from_wire,
    rate_to_wire,
    time_from_wire,
    time_to_wire,
)

FORMATS = {
    wire.OUTPUT_FORMAT_MP4: OutputFormat.MP4,
    wire.OUTPUT_FORMAT_FLOAT32: OutputFormat.FLOAT32,
    wire.OUTPUT_FORMAT_UINT8: OutputFormat.UINT8,
    wire.OUTPUT_FORMAT_PNG: OutputFormat.PNG,
    wire.OUTPUT_FORMAT_RAW: OutputFormat.RAW,
}
STATES = {
    wire.JOB_STATE_QUEUED: JobState.QUEUED,
    wire.JOB_STATE_RUNNING: JobState.RUNNING,
    wire.JOB_STATE_PAUSED: JobState.PAUSED,
    wire.JOB_STATE_DONE: JobState.DONE,
    wire.JOB_STATE_FAILED: JobState.FAILED,
    wire.JOB_STATE_CANCELLED: JobState.CANCELLED,
}
EXPERTS = {wire.EXPERT_HIGH: ExpertName.HIGH, wire.EXPERT_LOW: ExpertName.LOW}


def event_to_wire(event: Event) -> wire.Event:
    return wire.Event(
        sequence=event.sequence,
        job_id=event.job_id,
        state=number_of(STATES, event.state),
        stage=event.stage,
        segment=event.segment,
        segments=event.segments,
        step=event.step,
        steps=event.steps,
        timestep=event.timestep,
        expert=number_of(EXPERTS, event.expert) if event.expert else wire.EXPERT_UNSPECIFIED,
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
        state=STATES.get(message.state, JobState.RUNNING),
        stage=message.stage,
        segment=message.segment,
        segments=message.segments,
        step=message.step,
        steps=message.steps,
        timestep=message.timestep,
        expert=EXPERTS.get(message.expert),
        frames=message.frames,
        total_frames=message.total_frames,
        elapsed_s=message.elapsed_s,
        eta_s=message.eta_s if message.HasField("eta_s") else None,
        error=error_from_wire(message.error) if message.HasField("error") else None,
    )


def status_to_wire(status: JobStatus) -> wire.Job:
    return wire.Job(
        job_id=status.job_id,
        state=number_of(STATES, status.state),
        output_format=number_of(FORMATS, status.output_format),
        result_nbytes=status.result_nbytes,
        latest=event_to_wire(status.latest),
        title=status.title,
        labels=status.labels,
        priority=status.priority,
        bundle=status.bundle,
        submitted=time_to_wire(status.submitted),
        finished=time_to_wire(status.finished),
        video=None if status.video is None else video_to_wire(status.video),
    )


def status_from_wire(message: wire.Job) -> JobStatus:
    return JobStatus(
        job_id=message.job_id,
        state=STATES.get(message.state, JobState.RUNNING),
        output_format=FORMATS.get(message.output_format, OutputFormat.MP4),
        result_nbytes=message.result_nbytes,
        latest=event_from_wire(message.latest),
        title=message.title,
        labels=dict(message.labels),
        priority=message.priority,
        bundle=message.bundle,
        submitted=time_from_wire(message.submitted) or 0.0,
        finished=time_from_wire(optional(message, "finished")),
        video=video_from_wire(message.video) if message.HasField("video") else None,
    )


def video_to_wire(video: VideoFormat) -> wire.VideoFormat:
    return wire.VideoFormat(
        width=video.width,
        height=video.height,
        frames=video.frames,
        rate=rate_to_wire(video.rate),
        sample_nbytes=video.sample_nbytes,
    )


def video_from_wire(message: wire.VideoFormat) -> VideoFormat:
    return VideoFormat(
        message.width,
        message.height,
        message.frames,
        rate_from_wire(optional(message, "rate"), "rate"),
        message.sample_nbytes,
    )
