"""What is told of each call: its id, a log line, its metrics and its span."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from wan_trt.engine.errors import WanTrtError
from wan_trt.server.status import code_of, kind_of
from wan_trt.server.telemetry.context import Work, at_work
from wan_trt.server.telemetry.log_format import FIELDS
from wan_trt.server.telemetry.metrics import Metrics
from wan_trt.server.telemetry.tracing import Tracing

REQUEST_ID = "x-request-id"
_USABLE_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_log = logging.getLogger(__name__)


class WatchedCalls:
    def __init__(self, metrics: Metrics, tracing: Tracing) -> None:
        self._metrics = metrics
        self._tracing = tracing

    @contextmanager
    def call(self, context: grpc.ServicerContext, method: str) -> Iterator[None]:
        """Around a handler; errors go through it. The client's request id is taken, or one is
        made, and sent back before all else."""
        metadata: dict[str, str | bytes] = dict(context.invocation_metadata() or ())
        request_id = _usable(metadata.get(REQUEST_ID))
        context.send_initial_metadata(((REQUEST_ID, request_id),))
        ended: dict[str, str] = {"code": "OK"}
        in_flight = self._metrics.calls_in_flight.labels(method)
        in_flight.inc()
        started = time.perf_counter()
        with (
            self._tracing.call(method, _text(metadata.get("traceparent"))) as traceparent,
            at_work(Work(request_id=request_id, traceparent=traceparent)),
        ):
            try:
                yield
            except GeneratorExit:
                ended["code"] = "CANCELLED"  # the client left a stream
                raise
            except Exception as error:
                ended = _described(error)
                self._metrics.call_errors.labels(method, ended["code"], ended["error"]).inc()
                raise
            finally:
                seconds = time.perf_counter() - started
                in_flight.dec()
                self._metrics.calls.labels(method, ended["code"]).inc()
                self._metrics.call_s.labels(method).observe(seconds)
                told = {"method": method, **ended, "seconds": round(seconds, 6)}
                _log.info("%s %s", method, ended["code"], extra={FIELDS: told})


class CountBytes(grpc.ServerInterceptor):
    """Counts the bytes of one service's messages, as they are on the wire before compression."""

    def __init__(self, metrics: Metrics, service: str) -> None:
        self._metrics = metrics
        self._prefix = f"/{service}/"

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        handler = continuation(details)
        if handler is None or not details.method.startswith(self._prefix):
            return handler
        method = details.method.removeprefix(self._prefix)
        received = self._metrics.received.labels(method)
        sent = self._metrics.sent.labels(method)
        read, write = handler.request_deserializer, handler.response_serializer

        def counted_read(message: bytes) -> Any:
            received.inc(len(message))
            return read(message)

        def counted_write(message: Any) -> bytes:
            written: bytes = write(message)
            sent.inc(len(written))
            return written

        return handler._replace(
            request_deserializer=counted_read, response_serializer=counted_write
        )


def _described(error: Exception) -> dict[str, str]:
    """A log line tells the class of an error and its field, but not its text: that may have parts
    of what the client sent."""
    if not isinstance(error, WanTrtError):
        return {"code": grpc.StatusCode.INTERNAL.name, "error": "ExecutionError"}
    told = {"code": code_of(error).name, "error": kind_of(error).__name__}
    return told | ({"field": error.field} if error.field else {})


def _usable(given: str | bytes | None) -> str:
    text = _text(given)
    return text if _USABLE_ID.fullmatch(text) else uuid.uuid4().hex


def _text(given: str | bytes | None) -> str:
    return given if isinstance(given, str) else ""
