"""Jobs that are stopped, and callers who leave."""

from __future__ import annotations

import time
from pathlib import Path

import grpc
import pytest
from serving import MakeServer, MakeSubmission

from wan_trt.engine import JobState
from wan_trt.engine.errors import CancelledError, ResourceError
from wan_trt.server.client import Client
from wan_trt.server.errors import NotReadyError
from wan_trt.server.proto import wan_trt_v1_pb2 as wire
from wan_trt.server.server import Server

LONG = 1000


def test_a_running_job_stops_within_a_step(
    client: Client, make_submission: MakeSubmission, tmp_path: Path
) -> None:
    job_id = client.submit(make_submission(client, steps=LONG))
    watching = client.watch(job_id)
    next(event for event in watching if event.stage == "denoise")
    at = client.cancel(job_id).latest.step
    rest = list(watching)
    assert rest[-1].state is JobState.CANCELLED
    assert isinstance(rest[-1].error, CancelledError)
    assert max((event.step for event in rest), default=0) <= at + 2
    with pytest.raises(CancelledError):
        client.wait(job_id)
    with pytest.raises(NotReadyError, match="cancelled"):
        client.fetch(job_id, tmp_path / "out.safetensors")
    assert not list(tmp_path.glob("out*"))
    assert not list(tmp_path.glob("data*/jobs/*"))


def test_a_waiting_job_is_cancelled_and_its_neighbour_goes_on(
    client: Client, make_submission: MakeSubmission
) -> None:
    running = client.submit(make_submission(client, steps=30))
    waiting = client.submit(make_submission(client, steps=LONG))
    client.cancel(waiting)
    with pytest.raises(CancelledError):
        client.wait(waiting)
    assert client.wait(running).state is JobState.DONE


def test_cancelling_what_is_over_changes_nothing(
    client: Client, make_submission: MakeSubmission
) -> None:
    job_id = client.submit(make_submission(client))
    client.wait(job_id)
    assert client.cancel(job_id).state is JobState.DONE
    assert client.cancel(job_id).latest == client.get(job_id).latest


def test_watchers_who_leave_free_their_places(
    make_server: MakeServer, make_submission: MakeSubmission
) -> None:
    server = make_server(streams=2)
    with Client(str(server.address)) as client:
        running = client.submit(make_submission(client, steps=LONG))
        silent = client.submit(make_submission(client, steps=LONG))
        for job_id in (silent, running) * 3:
            _take_places(client, job_id, 2)
        with Client(str(server.address)) as gone:
            _take_places(gone, silent, 1, leave=False)
        _take_places(client, silent, 2)
        client.cancel(silent)
        client.cancel(running)


def test_more_watchers_than_places_are_refused_and_cancel_still_works(
    make_server: MakeServer, make_submission: MakeSubmission
) -> None:
    server = make_server(streams=1)
    with Client(str(server.address)) as client:
        job_id = client.submit(make_submission(client, steps=LONG))
        watching = client.watch(job_id)
        next(watching)
        with pytest.raises(ResourceError, match="too many"):
            next(client.watch(job_id))
        client.cancel(job_id)
        assert list(watching)[-1].state is JobState.CANCELLED


def test_a_deadline_ends_a_watch(server: Server, make_submission: MakeSubmission) -> None:
    with Client(str(server.address)) as client:
        job_id = client.submit(make_submission(client, steps=LONG))
        with grpc.insecure_channel(str(server.address)) as channel:
            watch = channel.unary_stream(
                "/wan_trt.v1.VideoService/Watch",
                request_serializer=wire.WatchRequest.SerializeToString,
                response_deserializer=wire.Event.FromString,
            )
            with pytest.raises(grpc.RpcError) as raised:
                list(watch(wire.WatchRequest(job_id=job_id), timeout=0.3))
            assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        client.cancel(job_id)


def _take_places(client: Client, job_id: str, places: int, *, leave: bool = True) -> None:
    """Watch in as many places at a time, which those before have to free soon; then leave."""
    deadline = time.monotonic() + 10
    watching = [client.watch(job_id) for _ in range(places)]
    for index, each in enumerate(watching):
        while True:
            try:
                next(each)
                break
            except ResourceError:
                assert time.monotonic() < deadline, "a place was never freed"
                time.sleep(0.02)
                each = watching[index] = client.watch(job_id)
    for each in watching if leave else ():
        each.close()  # type: ignore[attr-defined]
