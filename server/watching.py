"""A job's events for one watcher, with previews where those were asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from wan_trt.server.job_record import JobRecord
from wan_trt.server.messages import event_to_wire
from wan_trt.server.previews import MakesPreviews, PreviewOptions, Previews
from wan_trt.server.proto import wan_trt_v1_pb2 as wire


def watch(
    record: JobRecord,
    engine: MakesPreviews,
    after: int,
    preview: PreviewOptions | None,
    wanted: Callable[[], bool],
) -> Iterator[wire.Event]:
    """Events with a sequence number above `after`, up to the final one, and without previews
    nothing else. See `JobRecord.follow`, also for what it raises."""
    if preview is None:
        yield from map(event_to_wire, record.follow(after, wanted))
        return
    record.require_known(after)
    previews = Previews(engine, record.job_id, preview, lambda: record.latest, record.wake)
    try:
        yield from _with_previews(record, after, previews, wanted)
    finally:
        previews.close()


def _with_previews(
    record: JobRecord, after: int, previews: Previews, wanted: Callable[[], bool]
) -> Iterator[wire.Event]:
    while True:
        previews.ask()

        def due(after: int = after) -> bool:
            return previews.ready or record.has_news(after)

        if not record.wait(due, wanted):
            return
        events = record.events(after)
        for event in events:
            yield event_to_wire(event)
            after = event.sequence
        if (made := previews.take()) is not None:
            event, preview = made
            message = event_to_wire(event)
            message.preview.CopyFrom(preview)
            yield message
        latest = record.latest
        if latest.state.final and after >= latest.sequence:
            return
