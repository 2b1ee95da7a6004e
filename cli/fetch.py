"""Fetch the result of a job that is done. OUT appears when it is complete."""

from __future__ import annotations

import argparse
from pathlib import Path

from wan_trt.cli.server_options import add_server_argument, connected
from wan_trt.engine.errors import InputError

SUMMARY = "fetch a finished job's result"
EXAMPLES = ("wan-trt fetch 3f0c2b8d9e6a4c51b7d2a9e8f1046c35 --out hero.mp4",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job_id", metavar="JOB", help="the id that submit printed")
    add_server_argument(parser)
    parser.add_argument(
        "--out",
        metavar="OUT",
        type=Path,
        required=True,
        help="file to write: .mp4, .safetensors, .zip or .rgb, whichever the job was submitted for",
    )


def run(arguments: argparse.Namespace) -> int:
    with connected(arguments) as client:
        suffix = client.get(arguments.job_id).output_format.suffix
        if arguments.out.suffix.lower() != suffix:
            raise InputError(
                f"{arguments.out} for a result of type {suffix}",
                expected=f"a name that ends in {suffix}",
                action="choose such a name",
                field="out",
            )
        client.fetch(arguments.job_id, arguments.out)
    print(arguments.out)
    return 0
