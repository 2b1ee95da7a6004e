"""Health as gRPC defines it (grpc.health.v1), open to all, to a few watchers at a time.

Upstream's servicer holds its lock while it sends to a watcher, and takes the same lock in the one
thread that completes sends when a watcher leaves: where both meet, the server never answers again
(grpc/grpc#43403). Here every watcher has a thread, and nothing is sent under the lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

SERVICE_NAME: str = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
MAX_HEALTH_WATCHERS = 8


class Health(health_pb2_grpc.HealthServicer):
    """Nobody is asked who they are, so nobody may take the places of those who were."""

    def __init__(self, names: Collection[str]) -> None:
        """`names` are the services that are served, and "" for the whole; none serves yet."""
        self._serving = dict.fromkeys(names, False)
        self._stopping = False
        self._changed = threading.Condition()
        self._places = threading.BoundedSemaphore(MAX_HEALTH_WATCHERS)

    def tell(self, name: str, serving: bool) -> None:
        """How one of the services is; it may be a new one. Nothing is heard after `stop`."""
        with self._changed:
            self._serving[name] = serving and not self._stopping
            self._changed.notify_all()

    def stop(self) -> None:
        """No service serves any more."""
        with self._changed:
            self._stopping = True
            self._serving = dict.fromkeys(self._serving, False)
            self._changed.notify_all()

    def Check(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        return _response(self._known(request, context))

    def Watch(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext
    ) -> Iterator[health_pb2.HealthCheckResponse]:
        """How the service is now, and then every change that is not over before it can be told."""
        self._known(request, context)
        if not self._places.acquire(blocking=False):
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many watch; use Check")
        try:
            context.add_callback(self._wake)  # a caller that leaves frees the thread at once
            told = None
            while (serving := self._news(request.service, told, context.is_active)) is not None:
                yield _response(serving)
                told = serving
        finally:
            self._places.release()

    def _known(self, request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext) -> bool:
        """Whether a service serves; the call is aborted for one that is not known."""
        with self._changed:
            serving = self._serving.get(request.service)
        if serving is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return serving

    def _news(self, name: str, told: bool | None, wanted: Callable[[], bool]) -> bool | None:
        """Sleep until a service is not as it was `told`; None when nobody wants to know."""
        with self._changed:
            self._changed.wait_for(lambda: self._serving[name] is not told or not wanted())
            return self._serving[name] if wanted() else None

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


def _response(serving: bool) -> health_pb2.HealthCheckResponse:
    status = health_pb2.HealthCheckResponse
    return status(status=status.SERVING if serving else status.NOT_SERVING)
