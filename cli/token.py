"""Make a token for `wan-trt serve --access FILE`.

The token goes to stderr, this once: it is kept nowhere. The entry that lets it in goes to stdout
and holds only a hash: append it to FILE, which a running server reads again by itself. To replace a
token, add the new hash to the list of its principal, and remove the old one when nobody uses it.
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime, timedelta

from wan_trt.cli.extras import needs_extra
from wan_trt.engine.errors import InputError

SUMMARY = "make a token that lets somebody use a server"
EXAMPLES = (
    "wan-trt token new --name farm",
    "wan-trt token new --name ops --admin --days 90",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("new",), help="what to do")
    parser.add_argument(
        "--name", metavar="NAME", required=True, help="on whose account jobs are to go"
    )
    parser.add_argument(
        "--admin", action="store_true", help="let them see and cancel everybody's jobs"
    )
    parser.add_argument(
        "--days",
        metavar="N",
        type=float,
        help="how long it is valid (default: until it is removed)",
    )


def run(arguments: argparse.Namespace) -> int:
    with needs_extra("server"):
        from wan_trt.server.access_file import Entry, entry_text
    from wan_trt.server.principal import Principal
    from wan_trt.server.tokens import hash_of_token, new_token

    token = new_token()
    entry = Entry(
        Principal(arguments.name, arguments.admin),
        (hash_of_token(token),),
        expires=_expires(arguments.days),
    )
    print(entry_text(entry), end="")
    print(f"the token of {arguments.name}, shown only now:\n{token}", file=sys.stderr)
    return 0


def _expires(days: float | None) -> datetime | None:
    """Raises InputError for a time that no calendar has."""
    if days is None:
        return None
    try:
        if not days > 0:
            raise ValueError
        return (datetime.now(UTC) + timedelta(days=days)).replace(microsecond=0)
    except (ValueError, OverflowError):
        raise InputError(
            f"{days:g}", expected="a number of days, more than 0", field="days"
        ) from None
