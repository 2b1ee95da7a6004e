"""Spans of calls and jobs, as OpenTelemetry's SDK has them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from durable import write_media
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from toy_bundle import write_toy_bundle
from toy_server import stub_of, toy_server, toy_submission

from wan_trt.engine import Bundle, JobState
from wan_trt.engine.errors import InputError
from wan_trt.server.client import Client
from wan_trt.server.proto import wan_trt_v1_pb2 as wire
from wan_trt.server.submission_messages import submission_to_wire
from wan_trt.server.telemetry.opentelemetry_spans import OpenTelemetry
from wan_trt.server.telemetry.tracing import open_tracing

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_toy_bundle(tmp_path / "toy", high=0.5, low=0.25)


@pytest.fixture
def media(tmp_path: Path) -> dict[str, Path]:
    return write_media(tmp_path, frames=7)


class Traced:
    """What one process of a server has for spans."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracing = OpenTelemetry(provider)

    def spans(self) -> list[ReadableSpan]:
        """Of the client's trace."""
        found = self._exporter.get_finished_spans()
        return [span for span in found if f"{span.context.trace_id:032x}" == TRACE]


def submit(address: str, client: Client, media: dict[str, Path], steps: int) -> str:
    """A job whose call is part of the client's trace."""
    with grpc.insecure_channel(address) as channel:
        stub = stub_of(channel)
        message = submission_to_wire(toy_submission(client, media, steps))
        job: wire.Job = stub.Submit(message, metadata=[("traceparent", PARENT)])
        return job.job_id


def names(spans: list[ReadableSpan]) -> list[str]:
    return [span.name for span in spans]


def test_a_job_is_part_of_its_clients_trace(
    bundle: Bundle, media: dict[str, Path], tmp_path: Path
) -> None:
    traced = Traced()
    with (
        toy_server(bundle, tmp_path / "data", tracing=traced.tracing) as server,
        Client(str(server.address)) as client,
    ):
        job_id = submit(str(server.address), client, media, steps=2)
        assert client.wait(job_id).state is JobState.DONE
    spans = traced.spans()
    [call] = [span for span in spans if span.name == "wan_trt.v1.VideoService/Submit"]
    assert call.parent is not None
    assert f"{call.parent.span_id:016x}" == "00f067aa0ba902b7"
    stages = [span for span in spans if span is not call]
    segment = ["conditioning", "step", "step", "decode"]
    assert names(stages) == ["queue", *segment, *segment, "result"]
    for span in stages:
        assert span.parent is not None
        assert span.parent.span_id == call.context.span_id
        assert span.attributes is not None
        assert span.attributes["wan_trt.job_id"] == job_id
        assert span.start_time is not None
        assert span.end_time is not None
        assert span.start_time <= span.end_time
    step = stages[2].attributes
    assert step is not None
    assert (step["wan_trt.step"], step["wan_trt.expert"]) == (0, "high")
    assert step["wan_trt.size"] == "32x16x5"


def test_the_next_process_goes_on_with_the_trace(
    bundle: Bundle, media: dict[str, Path], tmp_path: Path
) -> None:
    first, second = Traced(), Traced()
    with (
        toy_server(bundle, tmp_path / "data", tracing=first.tracing) as server,
        Client(str(server.address)) as client,
    ):
        job_id = submit(str(server.address), client, media, steps=200)
        next(event for event in client.watch(job_id) if event.step > 1)
    [call] = [span for span in first.spans() if span.name.endswith("Submit")]
    with (
        toy_server(bundle, tmp_path / "data", tracing=second.tracing) as server,
        Client(str(server.address)) as client,
    ):
        assert client.wait(job_id).state is JobState.DONE
    again = second.spans()
    assert names(again)[:2] == ["queue", "conditioning"]
    assert names(again)[-1] == "result"
    assert {span.parent.span_id for span in again if span.parent} == {call.context.span_id}


def test_a_call_that_fails_says_so(bundle: Bundle, tmp_path: Path) -> None:
    traced = Traced()
    with (
        toy_server(bundle, tmp_path / "data", tracing=traced.tracing) as server,
        grpc.insecure_channel(str(server.address)) as channel,
    ):
        stub = stub_of(channel)
        with pytest.raises(grpc.RpcError):
            stub.Get(wire.GetRequest(job_id="x"), metadata=[("traceparent", PARENT)])
        with pytest.raises(grpc.RpcError):
            stub.Get(wire.GetRequest(job_id="x"), metadata=[("traceparent", "nonsense")])
    [span] = traced.spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "NotFoundError"


def test_what_is_no_url_is_bad_input() -> None:
    with pytest.raises(InputError, match="traces: 'collector'; expected the URL"):
        open_tracing("collector")


def test_a_server_without_traces_does_not_load_opentelemetry() -> None:
    code = (
        "import sys, wan_trt.server.server;"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout == "[]\n"
