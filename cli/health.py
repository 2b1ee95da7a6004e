"""Ask a server whether it takes jobs, by gRPC's health protocol; for operators and containers.

Prints `serving` and exits with 0, or says why not and exits with 3.
"""

from __future__ import annotations

import argparse

from wan_trt.cli.server_options import add_connection_arguments, connected

SUMMARY = "ask whether a server takes jobs"
EXAMPLES = ("wan-trt health", "wan-trt health --server 10.0.0.5:50051 --timeout 2")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_connection_arguments(parser)
    parser.set_defaults(patience_s=0.0)  # it asks once
    parser.add_argument(
        "--timeout",
        dest="timeout_s",
        metavar="SECONDS",
        type=float,
        default=5.0,
        help="how long to wait for the answer (default: %(default)g)",
    )


def run(arguments: argparse.Namespace) -> int:
    with connected(arguments) as client:
        client.require_serving(arguments.timeout_s)
    print("serving")
    return 0
