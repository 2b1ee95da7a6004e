"""What the commands that talk to a server share: --server, how it is reached, and the client."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from wan_trt.cli.extras import needs_extra
from wan_trt.engine.errors import InputError
from wan_trt.server.address import DEFAULT_ADDRESS

if TYPE_CHECKING:
    from wan_trt.server.client import Client, ClientTls
    from wan_trt.server.errors import UnavailableError


def add_server_argument(parser: argparse.ArgumentParser) -> None:
    """Where the server is, who asks, and how long to try."""
    add_connection_arguments(parser)
    parser.add_argument(
        "--patience",
        dest="patience_s",
        metavar="SECONDS",
        type=float,
        default=30.0,
        help="how long to try again while no server answers; transfers and watches go on where "
        "they were cut off (default: %(default)g)",
    )


def add_connection_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--server",
        metavar="HOST:PORT",
        default=DEFAULT_ADDRESS,
        help="where `wan-trt serve` listens (default: %(default)s)",
    )
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        type=Path,
        help="holds the token that shows who calls (default: the token in WAN_TRT_TOKEN, if any)",
    )
    parser.add_argument(
        "--tls", action="store_true", help="encrypt, and trust the authorities that gRPC knows"
    )
    parser.add_argument(
        "--tls-ca",
        metavar="FILE",
        type=Path,
        help="encrypt, and trust the authorities in this PEM file (default: WAN_TRT_CA, if set)",
    )
    parser.add_argument(
        "--tls-cert",
        metavar="FILE",
        type=Path,
        help="encrypt, and show this certificate (PEM); needs --tls-key",
    )
    parser.add_argument(
        "--tls-key", metavar="FILE", type=Path, help="the private key of --tls-cert (PEM)"
    )


@contextmanager
def connected(arguments: argparse.Namespace) -> Iterator[Client]:
    """A client of the server that was named. Raises InputError where gRPC is not installed."""
    with needs_extra("server"):
        from wan_trt.server.client import Client, Retries
    with Client(
        arguments.server,
        token=_token(arguments),
        tls=_tls(arguments),
        retries=Retries(arguments.patience_s),
        on_outage=_tell_outage,
    ) as client:
        yield client


def _tell_outage(error: UnavailableError, left_s: float) -> None:
    print(f"wan-trt: {error.given}; trying again for {left_s:.0f} s", file=sys.stderr)


def _token(arguments: argparse.Namespace) -> str | None:
    """Raises InputError for a file that cannot be read."""
    if arguments.token_file is None:
        return os.environ.get("WAN_TRT_TOKEN") or None
    try:
        token: str = arguments.token_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{arguments.token_file} cannot be read ({error})",
            expected="a file with a token",
            field="token_file",
        ) from None
    return token


def _tls(arguments: argparse.Namespace) -> ClientTls | None:
    from wan_trt.server.client import ClientTls

    ca = arguments.tls_ca
    if ca is None and os.environ.get("WAN_TRT_CA"):
        ca = Path(os.environ["WAN_TRT_CA"])
    if not (arguments.tls or ca or arguments.tls_cert or arguments.tls_key):
        return None
    return ClientTls(ca, arguments.tls_cert, arguments.tls_key)
