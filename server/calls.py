"""What all calls have in common: who calls, how many at a time, and how errors are answered."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Protocol

import grpc

from wan_trt.engine.errors import ResourceError
from wan_trt.server.principal import EVERYBODY, Principal
from wan_trt.server.quotas import Quotas
from wan_trt.server.status import answered
from wan_trt.server.telemetry.context import on_account_of
from wan_trt.server.telemetry.watched_calls import WatchedCalls


class Access(Protocol):
    """Tells who calls."""

    def principal(self, context: grpc.ServicerContext) -> Principal:
        """Raises a WanTrtError for a caller who is not let in."""
        ...


class OpenAccess:
    """Lets everybody in, and everybody see everything."""

    def principal(self, context: grpc.ServicerContext) -> Principal:  # noqa: ARG002
        return EVERYBODY


class Calls:
    """The frame of every handler."""

    def __init__(
        self, access: Access, quotas: Quotas, max_streams: int, watched: WatchedCalls
    ) -> None:
        """At most `max_streams` calls that last run at a time: each holds a thread meanwhile, and
        Cancel must always find one."""
        self._access = access
        self._quotas = quotas
        self._watched = watched
        self._streams = threading.BoundedSemaphore(max_streams)

    @contextmanager
    def answer(
        self,
        context: grpc.ServicerContext,
        method: str,
        *,
        stream: bool = False,
        lasts: bool = False,
    ) -> Iterator[Principal]:
        """Run a handler for the caller that is given; what it raises becomes the call's status.
        Streams last, and so does what waits for media to be opened."""
        with answered(context), self._watched.call(context, method), ExitStack() as held:
            principal = self._access.principal(context)
            on_account_of(principal.name)
            if stream:
                held.enter_context(self._quotas.stream(principal))
            if stream or lasts:
                held.enter_context(self._one_stream(method))
            yield principal

    @contextmanager
    def _one_stream(self, method: str) -> Iterator[None]:
        if not self._streams.acquire(blocking=False):
            raise ResourceError(
                f"too many transfers and watchers for one more {method}", action="try again later"
            )
        try:
            yield
        finally:
            self._streams.release()
