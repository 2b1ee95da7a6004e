"""Whether an address can be listened on, and why not."""

from __future__ import annotations

import contextlib
import socket

from wan_trt.engine.errors import InputError
from wan_trt.server.address import Address


def require_free(address: Address, field: str) -> None:
    """gRPC does not say why it cannot listen; the system does. Raises InputError; `field` names
    the setting that gave the address."""
    try:
        kind, *_, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with contextlib.closing(socket.socket(kind, socket.SOCK_STREAM)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
            probe.listen(1)
    except OSError as error:
        raise unusable(address, error.strerror or str(error), field) from None


def unusable(address: Address, reason: str, field: str) -> InputError:
    return InputError(
        f"cannot listen on {address} ({reason})",
        expected="a free port of this machine",
        action="stop what listens there, or use another port (0: any free one)",
        field=field,
    )
