"""Callers are asked who they are before anything waits for them, and their messages read as input.

gRPC takes a thread for a call when its headers are there, and that thread then waits for the
message of a unary call. Who never sends one would hold a thread without having shown who they are;
some dozens of such calls would stop the server.

Bytes that are no message would be INTERNAL, a bug of the server's, if gRPC read them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from wan_trt.engine.errors import CancelledError, InputError
from wan_trt.server.calls import Access
from wan_trt.server.health import SERVICE_NAME as HEALTH_NAME
from wan_trt.server.status import answered

MAX_HEALTH_CALLS = 8
"""That have not sent their message yet; they are open to all."""
HEALTH_MESSAGE_WITHIN_S = 5.0

Admit = Callable[[Any], AbstractContextManager[None]]
"""Held while a call's message is waited for."""


class FirstLook(grpc.ServerInterceptor):
    """Makes of every unary call one that is looked at when its headers are there. Outside of other
    interceptors: handlers come out of it without deserializers."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._health_calls = threading.BoundedSemaphore(MAX_HEALTH_CALLS)

    def intercept_service(
        self, continuation: Callable[[Any], Any], handler_call_details: Any
    ) -> Any:
        handler = continuation(handler_call_details)
        if handler is None:
            return handler
        if handler.request_streaming:
            return _read_inside(handler)
        of_health = handler_call_details.method.startswith(f"/{HEALTH_NAME}/")
        return _looked_at(handler, self._briefly if of_health else self._listed)

    @contextmanager
    def _listed(self, context: grpc.ServicerContext) -> Iterator[None]:
        with answered(context):
            self._access.principal(context)
        yield

    @contextmanager
    def _briefly(self, context: grpc.ServicerContext) -> Iterator[None]:
        if not self._health_calls.acquire(blocking=False):
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many calls; try again")
        over = threading.Timer(HEALTH_MESSAGE_WITHIN_S, context.cancel)
        over.daemon = True
        over.start()
        try:
            yield
        finally:
            over.cancel()
            self._health_calls.release()


def _looked_at(handler: Any, admit: Admit) -> Any:
    """The same to its callers: one message and a stream of one are the same on the wire."""
    make = (
        grpc.stream_stream_rpc_method_handler
        if handler.response_streaming
        else grpc.stream_unary_rpc_method_handler
    )
    answer: Any = handler.unary_stream if handler.response_streaming else handler.unary_unary

    def behave(requests: Iterator[bytes], context: Any) -> Any:
        with admit(context):
            content = next(requests, None)
        with answered(context):
            if content is None:
                raise InputError("a call without a message", expected="one")
            request = _read(handler, content)
        return answer(request, context)

    return make(behave, response_serializer=handler.response_serializer)


def _read_inside(handler: Any) -> Any:
    """Its messages are read where it takes them, and what is wrong with them is raised there."""
    make = (
        grpc.stream_stream_rpc_method_handler
        if handler.response_streaming
        else grpc.stream_unary_rpc_method_handler
    )
    answer: Any = handler.stream_stream if handler.response_streaming else handler.stream_unary

    def behave(requests: Iterator[bytes], context: Any) -> Any:
        return answer(_messages(handler, requests), context)

    return make(behave, response_serializer=handler.response_serializer)


def _messages(handler: Any, requests: Iterator[bytes]) -> Iterator[Any]:
    """Raises as `_read`, and CancelledError where the client is gone or sent too long a message."""
    try:
        for content in requests:
            yield _read(handler, content)
    except grpc.RpcError:
        raise CancelledError("the call was cut off", action="go on with it") from None


def _read(handler: Any, content: bytes) -> Any:
    """Raises InputError for what is not a message of the call's."""
    try:
        return handler.request_deserializer(content)
    except DecodeError as error:
        raise InputError(
            f"{len(content)} bytes that are no such message ({error})",
            expected="a message as the API describes it, whose texts are Unicode",
            action="use a client made from wan_trt_v1.proto",
        ) from None
