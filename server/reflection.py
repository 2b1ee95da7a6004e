"""The services of gRPC itself, as far as they are open: health to all, a few watchers at a time;
reflection to those who may call."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection

from wan_trt.server.calls import Calls

MAX_HEALTH_WATCHERS = 8
MAX_OPEN_REFLECTIONS = 4


class Health(health.HealthServicer):
    """Nobody is asked who they are, so nobody may take the places of those who were."""

    def __init__(self, names: Collection[str]) -> None:
        """`names` are the services that are served, and "" for the whole."""
        super().__init__()
        self._names = set(names)
        self._watchers = threading.BoundedSemaphore(MAX_HEALTH_WATCHERS)

    def tell(self, name: str, serving: bool) -> None:
        """How one of the services is; it may be a new one."""
        self._names.add(name)
        status = health_pb2.HealthCheckResponse
        self.set(name, status.SERVING if serving else status.NOT_SERVING)

    def Watch(  # noqa: N802
        self, request: Any, context: grpc.ServicerContext, send_response_callback: Any = None
    ) -> Any:
        if request.service not in self._names:  # each would be remembered for ever
            context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        if not self._watchers.acquire(blocking=False):
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many watch; use Check")
        if not context.add_callback(self._watchers.release):
            self._watchers.release()  # over already
        return super().Watch(request, context, send_response_callback)


class Reflection(reflection.ReflectionServicer):
    """Answers callers that are let in."""

    def __init__(self, names: tuple[str, ...], calls: Calls) -> None:
        super().__init__(names)
        self._calls = calls

    def ServerReflectionInfo(  # noqa: N802
        self, request_iterator: Iterable[Any], context: Any
    ) -> Iterator[Any]:
        with self._calls.answer(context, "ServerReflectionInfo", stream=True):
            yield from super().ServerReflectionInfo(request_iterator, context)
