"""What the commands that talk to a server share: --server, and the client behind it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from wan_trt.cli.extras import needs_extra
from wan_trt.server.address import DEFAULT_ADDRESS

if TYPE_CHECKING:
    from wan_trt.server.client import Client


def add_server_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--server",
        metavar="HOST:PORT",
        default=DEFAULT_ADDRESS,
        help="where `wan-trt serve` listens (default: %(default)s)",
    )


@contextmanager
def connected(arguments: argparse.Namespace) -> Iterator[Client]:
    """A client of the server that was named. Raises InputError where gRPC is not installed."""
    with needs_extra("server"):
        from wan_trt.server.client import Client
    with Client(arguments.server) as client:
        yield client
