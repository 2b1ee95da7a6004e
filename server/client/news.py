"""What a client hears of jobs besides their events: previews, and pages of a list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

from wan_trt.engine.request import Event, JobState
from wan_trt.server.messages import STATES, event_from_wire
from wan_trt.server.proto import wan_trt_v1_pb2 as wire
from wan_trt.server.submission import JobStatus
from wan_trt.server.wire_values import time_to_wire

PICTURE_FORMATS = {
    "jpeg": wire.PICTURE_FORMAT_JPEG,
    "png": wire.PICTURE_FORMAT_PNG,
    "raw": wire.PICTURE_FORMAT_RAW,
}


@dataclass(frozen=True)
class PreviewChoice:
    """Ask a watch for previews, of at most so many pictures each: "jpeg", "png", or "raw", uint8
    [height, width, 3]."""

    format: str = "jpeg"
    pictures: int = 1

    def to_wire(self) -> wire.PreviewRequest:
        return wire.PreviewRequest(format=PICTURE_FORMATS[self.format], max_pictures=self.pictures)


@dataclass(frozen=True)
class Preview:
    """Small and blurred pictures of `width` x `height`; each is of that one of `frames` in the
    segment."""

    width: int
    height: int
    pictures: tuple[bytes, ...]
    frames: tuple[int, ...]


@dataclass(frozen=True)
class PreviewEvent(Event):
    """The event of a denoising step once more, with how the video looks by then."""

    preview: Preview | None = None


@dataclass(frozen=True)
class JobQuery:
    """Which jobs to list: those that fit all of it. No states are all; times are seconds since
    1970, `submitted_before` is exclusive."""

    states: Sequence[JobState] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    submitted_from: float | None = None
    submitted_before: float | None = None

    def to_wire(self, page_size: int, page_token: str) -> wire.ListRequest:
        return wire.ListRequest(
            states=[number for number, state in STATES.items() if state in self.states],
            labels=self.labels,
            submitted_from=time_to_wire(self.submitted_from),
            submitted_before=time_to_wire(self.submitted_before),
            page_size=page_size,
            page_token=page_token,
        )


@dataclass(frozen=True)
class JobPage:
    """Jobs, the newest first. `next_token` asks for those behind; empty on the last page."""

    jobs: tuple[JobStatus, ...]
    next_token: str


def news_from_wire(message: wire.Event) -> Event:
    """An event, a PreviewEvent where it has a preview."""
    event = event_from_wire(message)
    if not message.HasField("preview"):
        return event
    seen = message.preview
    return PreviewEvent(
        **{part.name: getattr(event, part.name) for part in fields(event)},
        preview=Preview(seen.width, seen.height, tuple(seen.pictures), tuple(seen.frames)),
    )
