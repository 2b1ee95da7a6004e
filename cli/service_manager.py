"""What systemd is told of a service (sd_notify): nothing where it does not ask."""

from __future__ import annotations

import contextlib
import os
import socket
import time

_EVERY_S = 10.0


def tell(state: str) -> None:
    """Send a line such as READY=1 to whoever started this process and wants to know."""
    place = os.environ.get("NOTIFY_SOCKET", "")
    if not place:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(state.encode(), "\0" + place[1:] if place.startswith("@") else place)


class Heartbeat:
    """Says now and then that all is well; a service that stops saying so is started anew."""

    def __init__(self) -> None:
        self._next = 0.0

    def beat(self, alive: bool) -> None:
        """Called more often than it sends."""
        if alive and time.monotonic() >= self._next:
            self._next = time.monotonic() + _EVERY_S
            tell("WATCHDOG=1")
