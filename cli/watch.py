"""Show how a job comes along, until it is over.

Earlier events are shown first; --after leaves out those up to a number. After a lost connection it
goes on with the next event. Exit code 0 when the job is done; when it failed or was cancelled, the
code of that error.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from wan_trt.cli.job_news import Tell, add_news_arguments, news_teller
from wan_trt.cli.server_options import add_server_argument, connected
from wan_trt.engine.errors import InputError
from wan_trt.engine.request import Event

if TYPE_CHECKING:
    from wan_trt.server.client import PreviewChoice

SUMMARY = "show a job's progress"
EXAMPLES = (
    "wan-trt watch 3f0c2b8d9e6a4c51b7d2a9e8f1046c35 --preview now.jpg",
    "wan-trt watch 3f0c2b8d9e6a4c51b7d2a9e8f1046c35 --server 10.0.0.5:50051 --after 12 --json",
)

_FORMATS = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job_id", metavar="JOB", help="the id that submit printed")
    add_server_argument(parser)
    add_news_arguments(parser)
    add_preview_argument(parser)
    parser.add_argument(
        "--after",
        dest="after_sequence",
        metavar="N",
        type=int,
        default=0,
        help="leave out the first N events, which were seen already (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    previews = preview_choice(arguments)
    with connected(arguments) as client:
        client.wait(
            arguments.job_id,
            event_teller(arguments, news_teller(arguments, sys.stdout)),
            arguments.after_sequence,
            previews=previews,
        )
    return 0


def add_preview_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--preview",
        metavar="FILE",
        type=Path,
        help="keep a small picture of how the video looks by now in this .jpg or .png file",
    )


def preview_choice(arguments: argparse.Namespace) -> PreviewChoice | None:
    """Raises InputError for a name that is no picture's."""
    from wan_trt.server.client import PreviewChoice

    if arguments.preview is None:
        return None
    suffix = arguments.preview.suffix.lower()
    if suffix not in _FORMATS:
        raise InputError(
            f"{arguments.preview}: a picture of type {suffix or 'none'}",
            expected=".jpg or .png",
            field="preview",
        )
    return PreviewChoice(_FORMATS[suffix])


def event_teller(arguments: argparse.Namespace, tell: Tell) -> Tell:
    """`tell`, and previews into their file; an event is told once."""
    from wan_trt.media.partial_output import whole_file
    from wan_trt.server.client import PreviewEvent

    def told(event: Event) -> None:
        if not isinstance(event, PreviewEvent):
            tell(event)
        elif event.preview is not None:
            with whole_file(arguments.preview, "preview") as path:
                path.write_bytes(event.preview.pictures[0])

    return told
