"""Stop a job: within one denoising step if it runs. A job that is over stays as it is."""

from __future__ import annotations

import argparse

from wan_trt.cli.server_options import add_server_argument, connected
from wan_trt.engine.errors import CancelledError

SUMMARY = "stop a job"
EXAMPLES = ("wan-trt cancel 3f0c2b8d9e6a4c51b7d2a9e8f1046c35",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job_id", metavar="JOB", help="the id that submit printed")
    add_server_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    with connected(arguments) as client:
        state = client.cancel(arguments.job_id).state
        if not state.final:
            try:
                state = client.wait(arguments.job_id).state
            except CancelledError:
                print("cancelled")
                return 0
    print(state.value)
    return 0
