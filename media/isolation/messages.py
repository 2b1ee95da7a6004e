"""What goes over the socket between a reader process and who asked for it: JSON, then bytes.

Nothing is unpickled: the reader may be in the hands of whoever made the media.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from typing import Any

from wan_trt.engine.errors import InputError, MediaError, MediaLimitError, WanTrtError

_LENGTH = struct.Struct(">I")
_MAX_NBYTES = 1 << 16
_LEAST_S = 0.001

Message = dict[str, Any]

_KINDS: dict[str, type[WanTrtError]] = {
    kind.__name__: kind for kind in (InputError, MediaError, MediaLimitError)
}


def send(connection: socket.socket, message: Message, payload: memoryview | None = None) -> None:
    """One message, and bytes whose number the other side knows."""
    text = json.dumps(message).encode("ascii")
    connection.sendall(_LENGTH.pack(len(text)) + text)
    if payload is not None:
        connection.sendall(payload)


def receive(connection: socket.socket, deadline: float | None = None) -> Message:
    """The next message. Raises EOFError at the end, ValueError for what is none, TimeoutError when
    it is not there at `deadline`, by the monotonic clock."""
    length = bytearray(_LENGTH.size)
    receive_into(connection, memoryview(length), deadline)
    (nbytes,) = _LENGTH.unpack(length)
    if nbytes > _MAX_NBYTES:
        raise ValueError(f"a message of {nbytes} bytes")
    text = bytearray(nbytes)
    receive_into(connection, memoryview(text), deadline)
    message = json.loads(text)
    if not isinstance(message, dict):
        raise ValueError("a message that is no object")
    return message


def receive_into(
    connection: socket.socket, payload: memoryview, deadline: float | None = None
) -> None:
    """Fill `payload`, a view of bytes. Raises EOFError where the other side is gone, TimeoutError
    at `deadline`, however much has come."""
    while payload:
        if deadline is not None:
            connection.settimeout(max(_LEAST_S, deadline - time.monotonic()))
        received = connection.recv_into(payload)
        if not received:
            raise EOFError("the other side closed the connection")
        payload = payload[received:]


def error_to_message(error: WanTrtError) -> Message:
    """A message that is short enough whatever the file's name is."""
    kind = next((k.__name__ for k in type(error).__mro__ if k.__name__ in _KINDS), "MediaError")
    parts = {name: getattr(error, name)[:8000] for name in ("given", "expected", "action")}
    return {"error": {"kind": kind, "field": error.field, **parts}}


def error_from_message(error: Message) -> WanTrtError:
    """The typed error again. Raises ValueError for what is none."""
    texts = {name: error.get(name) for name in ("given", "expected", "action")}
    field = error.get("field")
    if not all(isinstance(text, str) for text in texts.values()):
        raise ValueError("an error without words")
    kind = _KINDS.get(str(error.get("kind")), MediaError)
    return kind(
        str(texts["given"]),
        expected=str(texts["expected"]),
        action=str(texts["action"]),
        field=None if field is None else str(field),
    )
