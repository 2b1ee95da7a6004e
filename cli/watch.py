"""Show how a job comes along, until it is over.

Earlier events are shown first; --after leaves out those up to a number. Exit code 0 when the job is
done; when it failed or was cancelled, the code of that error.
"""

from __future__ import annotations

import argparse
import sys

from wan_trt.cli.progress import ProgressLine
from wan_trt.cli.server_options import add_server_argument, connected

SUMMARY = "show a job's progress"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", metavar="JOB", help="the id that submit printed")
    add_server_argument(parser)
    parser.add_argument(
        "--after", metavar="N", type=int, default=0, help="only events after the Nth"
    )


def run(arguments: argparse.Namespace) -> int:
    with connected(arguments) as client:
        client.wait(arguments.job, ProgressLine(sys.stdout).show, arguments.after)
    return 0
