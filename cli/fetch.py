"""Fetch the result of a job that is done. OUT appears when it is complete.

What came until the connection broke, or the command was stopped, stays in OUT.JOB.part; the next
fetch into OUT goes on behind it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from wan_trt.cli.result_files import OUT_HELP, fetch_result, require_format
from wan_trt.cli.server_options import add_server_argument, connected

SUMMARY = "fetch a finished job's result"
EXAMPLES = (
    "wan-trt fetch 3f0c2b8d9e6a4c51b7d2a9e8f1046c35 --out hero.mp4",
    "wan-trt fetch 3f0c2b8d9e6a4c51b7d2a9e8f1046c35 --follow --out frames/%04d.png",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job_id", metavar="JOB", help="the id that submit printed")
    add_server_argument(parser)
    parser.add_argument(
        "--follow", action="store_true", help="wait until the job is done, instead of refusing"
    )
    parser.add_argument(
        "--out",
        metavar="OUT",
        type=Path,
        required=True,
        help=f"what to write, as the job was submitted for: {OUT_HELP}",
    )


def run(arguments: argparse.Namespace) -> int:
    with connected(arguments) as client:
        require_format(arguments.out, client.get(arguments.job_id).output_format)
        fetch_result(client, arguments.job_id, arguments.out, follow=arguments.follow)
    print(arguments.out)
    return 0
