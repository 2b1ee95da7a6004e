"""How news of a job are told: to people, to programs as JSON, to render farms."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TextIO

from wan_trt.cli.progress import ProgressLine, fraction, progress_text
from wan_trt.engine.errors import WanTrtError
from wan_trt.engine.request import Event, JobState

if TYPE_CHECKING:
    from wan_trt.server.client import JobStatus

Tell = Callable[[Event], None]


def add_news_arguments(parser: argparse.ArgumentParser) -> None:
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--json", action="store_true", help="print one JSON object a line on standard output"
    )
    form.add_argument(
        "--openjd",
        action="store_true",
        help="print progress as Open Job Description has it, for render farms: openjd_progress, "
        "openjd_status and openjd_fail lines on standard output",
    )


def news_teller(arguments: argparse.Namespace, stream: TextIO) -> Tell:
    """What shows events as was asked for; to people on `stream`."""
    if arguments.json:
        return lambda event: print_json(event_values(event))
    if arguments.openjd:
        return tell_farm
    return ProgressLine(stream).show


def tell_farm(event: Event) -> None:
    print(f"openjd_progress: {100 * fraction(event):.1f}")
    print(f"openjd_status: {progress_text(event)}")
    if event.state in (JobState.FAILED, JobState.CANCELLED):
        print(f"openjd_fail: {event.error or event.state.value}")
    sys.stdout.flush()


def event_values(event: Event) -> dict[str, Any]:
    """An event as JSON has it: all fields, and the kind and text of its error."""
    values = {part.name: getattr(event, part.name) for part in fields(Event)}
    values["error"] = None if event.error is None else _error_values(event.error)
    return values


def job_values(job: JobStatus) -> dict[str, Any]:
    """A job as JSON has it: all but its newest event, of which there is the progress, 0 .. 1."""
    values = {part.name: getattr(job, part.name) for part in fields(job)}
    latest = values.pop("latest")
    video = values.pop("video")
    return values | {
        "labels": dict(job.labels),
        "progress": fraction(latest),
        "eta_s": latest.eta_s,
        "error": None if latest.error is None else _error_values(latest.error),
        "frames": None if video is None else video.frames,
        "size": None if video is None else [video.width, video.height],
    }


def print_json(values: dict[str, Any]) -> None:
    print(json.dumps(values, ensure_ascii=False, default=str), flush=True)


def _error_values(error: Exception) -> dict[str, Any]:
    code = error.exit_code if isinstance(error, WanTrtError) else 1
    return {"kind": type(error).__name__, "message": str(error), "exit_code": code}
