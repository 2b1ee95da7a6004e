"""List the jobs that a server knows and you may see, the newest first.

A job is listed if it fits all that is given. Where there are more than --limit, the last line says
how to see those behind.
"""

from __future__ import annotations

import argparse
import sys
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from wan_trt.cli.job_news import job_values, print_json
from wan_trt.cli.labels import add_label_argument, labels_from
from wan_trt.cli.progress import clock, fraction
from wan_trt.cli.server_options import add_server_argument, connected
from wan_trt.cli.table import table_lines
from wan_trt.engine.errors import InputError
from wan_trt.engine.request import JobState

if TYPE_CHECKING:
    from wan_trt.server.client import JobStatus

SUMMARY = "list a server's jobs"
EXAMPLES = (
    "wan-trt list --state running --state queued",
    "wan-trt list --label show=dune --since 2d --limit 200 --json",
)

_HEAD = ("JOB", "STATE", "PROGRESS", "SUBMITTED", "BUNDLE", "TITLE")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_server_argument(parser)
    parser.add_argument(
        "--state",
        dest="states",
        action="append",
        default=[],
        choices=[state.value for state in JobState],
        help="in this state; several may be given (default: all)",
    )
    add_label_argument(parser, "with this label; with several, all of them")
    parser.add_argument(
        "--since",
        dest="submitted_from",
        metavar="TIME",
        help="submitted then or later: 30m, 12h or 7d ago, or a time such as 2026-05-31T14:00",
    )
    parser.add_argument(
        "--before", dest="submitted_before", metavar="TIME", help="submitted before that time"
    )
    parser.add_argument(
        "--limit",
        dest="page_size",
        metavar="N",
        type=int,
        default=50,
        help="at most so many, 1 to 200 (default: %(default)s)",
    )
    parser.add_argument(
        "--page",
        dest="page_token",
        metavar="TOKEN",
        default="",
        help="those behind a list that was shown before, with the same filter",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")


def run(arguments: argparse.Namespace) -> int:
    since = _moment(arguments.submitted_from, "submitted_from")
    before = _moment(arguments.submitted_before, "submitted_before")
    labels = labels_from(arguments)
    with connected(arguments) as client:
        from wan_trt.server.client import JobQuery

        query = JobQuery([JobState(state) for state in arguments.states], labels, since, before)
        page = client.list_page(query, arguments.page_size, arguments.page_token)
    if arguments.json:
        for job in page.jobs:
            print_json(job_values(job))
    else:
        for line in table_lines(_HEAD, [_row(job) for job in page.jobs]):
            print(line)
    if page.next_token:
        print(f"there are more: --page {page.next_token}", file=sys.stderr)
    return 0


def _row(job: JobStatus) -> tuple[str, ...]:
    latest = job.latest
    progress = f"{100 * fraction(latest):.0f}%"
    if not job.state.final and latest.eta_s is not None:
        progress += f" ETA {clock(latest.eta_s)}"
    submitted = datetime.fromtimestamp(job.submitted).strftime("%Y-%m-%d %H:%M:%S")
    return job.job_id, job.state.value, progress, submitted, job.bundle, job.title


def _moment(text: str | None, field: str) -> float | None:
    """Seconds since 1970 of a time, local where it has no zone, or of so long ago."""
    if text is None:
        return None
    try:
        if text[-1:] in _UNITS:
            ago = timedelta(**{_UNITS[text[-1]]: float(text[:-1])})
            return (datetime.now().astimezone() - ago).timestamp()
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise InputError(
            repr(text), expected="a time such as 30m, 12h, 7d or 2026-05-31T14:00", field=field
        ) from None
