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
EXAMPLES = (
    "wan-trt watch 3f0c2b8d9e6a4c51b7d2a9e8f1046c35",
    "wan-trt watch 3f0c2b8d9e6a4c51b7d2a9e8f1046c35 --server 10.0.0.5:50051 --after 12",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job_id", metavar="JOB", help="the id that submit printed")
    add_server_argument(parser)
    parser.add_argument(
        "--after",
        dest="after_sequence",
        metavar="N",
        type=int,
        default=0,
        help="leave out the first N events, which were seen already (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    with connected(arguments) as client:
        client.wait(arguments.job_id, ProgressLine(sys.stdout).show, arguments.after_sequence)
    return 0
