"""Spans by OpenTelemetry's SDK. Imported only where traces are wanted: the extra `telemetry`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from wan_trt.server.telemetry.metrics import tool_version
from wan_trt.server.telemetry.tracing import StageSpan, Tracing

_SERVICE = "wan_trt.v1.VideoService"
_propagator = TraceContextTextMapPropagator()


def exporting_to(endpoint: str) -> TracerProvider:
    """Spans are sent to a collector in the background; OTEL_ variables say how, with which headers,
    and which are left out."""
    provider = TracerProvider(
        resource=Resource.create({"service.name": "wan-trt", "service.version": tool_version()})
    )
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


class OpenTelemetry(Tracing):
    """Spans go to a provider, which is closed with this."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("wan_trt.server")

    @contextmanager
    def call(self, method: str, traceparent: str) -> Iterator[str]:
        # Not made the current span: a stream's handler is a generator, which others may close.
        span = self._tracer.start_span(
            f"{_SERVICE}/{method}",
            _parent(traceparent),
            SpanKind.SERVER,
            {"rpc.system": "grpc", "rpc.service": _SERVICE, "rpc.method": method},
        )
        carrier: dict[str, str] = {}
        _propagator.inject(carrier, trace.set_span_in_context(span))
        try:
            yield carrier.get("traceparent", "")
        except Exception as error:
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise
        finally:
            span.end()

    def stage(self, span: StageSpan) -> None:
        told = self._tracer.start_span(
            span.name,
            _parent(span.traceparent),
            attributes=dict(span.attributes),
            start_time=span.start_ns,
        )
        if span.error:
            told.set_status(Status(StatusCode.ERROR, span.error))
        told.end(span.end_ns)

    def close(self) -> None:
        self._provider.shutdown()


def _parent(traceparent: str) -> Context:
    """What is no traceparent counts as none: the span begins a trace."""
    return _propagator.extract({"traceparent": traceparent} if traceparent else {})
