"""One call for short jobs: the job ends with the call."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from serving import MakeSubmission
from toy_bundle import write_toy_bundle

from wan_trt.engine import Bundle, JobState
from wan_trt.engine.engine import Engine
from wan_trt.server.client import Client
from wan_trt.server.proto import wan_trt_v1_pb2 as wire
from wan_trt.server.proto import wan_trt_v1_pb2_grpc as wire_grpc
from wan_trt.server.submission_messages import submission_to_wire

LONG = 1000


@pytest.fixture(scope="module")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Without a model in it: what the frames show is of no matter here."""
    return write_toy_bundle(tmp_path_factory.mktemp("bundle") / "toy")


@pytest.fixture
def stub(client: Client) -> Iterator[Any]:
    make: Any = wire_grpc.VideoServiceStub
    with grpc.insecure_channel(client.target) as channel:
        yield make(channel)


@pytest.fixture
def wish(client: Client, make_submission: MakeSubmission) -> Any:
    """wish(steps, **fields): the message of a Generate."""

    def make(steps: int, **fields: object) -> wire.GenerateRequest:
        job = submission_to_wire(make_submission(client, steps=steps, **fields))
        return wire.GenerateRequest(job=job)

    return make


def ended(client: Client, job_id: str) -> JobState:
    deadline = time.monotonic() + 30
    while not (status := client.get(job_id)).state.final and time.monotonic() < deadline:
        time.sleep(0.01)
    return status.state


def test_events_and_then_the_result(stub: Any, client: Client, wish: Any) -> None:
    parts = list(stub.Generate(wish(2), timeout=60))
    job_id = parts[0].job.job_id
    events = [part.event for part in parts if part.HasField("event")]
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    content = [part.content for part in parts if part.HasField("content")]
    whole = b"".join(chunk.chunk for chunk in content)
    assert len(whole) == content[0].nbytes
    assert whole == b"".join(client.fetch_chunks(job_id))


def test_a_call_that_is_cancelled_cancels_its_job(stub: Any, client: Client, wish: Any) -> None:
    """Its steps take milliseconds, and so does the cancellation's way to the server."""
    call = stub.Generate(wish(LONG), timeout=60)
    job_id = next(call).job.job_id
    next(part for part in call if part.event.stage == "denoise")
    call.cancel()
    at = client.get(job_id).latest.step
    assert ended(client, job_id) is JobState.CANCELLED
    assert client.get(job_id).latest.step < at + LONG // 10


def test_its_deadline_is_the_jobs(
    stub: Any, client: Client, wish: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []
    submit = Engine.submit

    def noting(engine: Engine, *arguments: Any, **options: Any) -> str:
        given.append(options["deadline"] - time.time())
        return submit(engine, *arguments, **options)

    monkeypatch.setattr(Engine, "submit", noting)
    call = stub.Generate(wish(LONG), timeout=2)
    job_id = next(call).job.job_id
    with pytest.raises(grpc.RpcError) as raised:
        list(call)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert ended(client, job_id) in (JobState.CANCELLED, JobState.FAILED)
    # The scheduler knew of it; an earlier limit of the job's own counts instead.
    assert 0 < given[0] < 2.1  # clocks differ a little
    call = stub.Generate(wish(LONG, timeout_s=1.0), timeout=60)
    with pytest.raises(grpc.RpcError) as raised:
        list(call)
    # Refused, where the first one got far enough for its costs to be known.
    assert raised.value.code() in (
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    )
    assert 0 < given[1] <= 1


def test_a_deadline_of_submit_is_the_calls_alone(stub: Any, client: Client, wish: Any) -> None:
    job = stub.Submit(wish(20).job, timeout=30)
    assert client.wait(job.job_id).state is JobState.DONE


def test_a_job_that_fails_fails_the_call(stub: Any, wish: Any) -> None:
    with pytest.raises(grpc.RpcError, match="segment_frames"):
        list(stub.Generate(wish(2, segment_frames=6), timeout=60))
