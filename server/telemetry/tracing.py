"""Spans of calls and of the stages of jobs: what is asked of whoever takes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from wan_trt.engine.errors import InputError

Attribute = str | int | float


@dataclass(frozen=True)
class StageSpan:
    """Work on a job; times are nanoseconds since 1970. `traceparent` is what it belongs to, as W3C
    Trace Context writes it; `error` the class of the error that it ended with."""

    name: str
    traceparent: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    error: str = ""


class Tracing:
    """Takes no spans; what it is called with costs next to nothing."""

    @contextmanager
    def call(self, method: str, traceparent: str) -> Iterator[str]:  # noqa: ARG002
        """The span of a call, a child of the client's `traceparent`, which may be empty. Gives the
        traceparent of what belongs to the call."""
        yield traceparent

    def stage(self, span: StageSpan) -> None:
        """Work on a job that is over."""

    def close(self) -> None:
        """Send what was not sent yet."""


def open_tracing(endpoint: str | None) -> Tracing:
    """Sends spans to an OpenTelemetry collector by OTLP over HTTP; to nobody without an endpoint.
    Raises InputError for what is no URL; where the extra is missing, ModuleNotFoundError."""
    if endpoint is None:
        return Tracing()
    if not endpoint.startswith(("http://", "https://")):
        raise InputError(
            f"{endpoint!r}", expected="the URL of a collector, as http://host:4318", field="traces"
        )
    from wan_trt.server.telemetry.opentelemetry_spans import OpenTelemetry, exporting_to

    return OpenTelemetry(exporting_to(endpoint))
