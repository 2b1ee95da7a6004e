"""Servers that follow each other on one folder, as their clients see them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from durable import write_media
from toy_bundle import write_toy_bundle

from wan_trt.engine import Bundle, Engine, Event, JobState
from wan_trt.engine.choices import RequestChoices, SamplingChoices
from wan_trt.engine.errors import DeadlineError, StorageFullError
from wan_trt.engine.lanes import Lane
from wan_trt.server.address import Address
from wan_trt.server.client import Client, Retries
from wan_trt.server.errors import UnavailableError
from wan_trt.server.server import Server, ServerOptions
from wan_trt.server.submission import OutputFormat, Submission


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_toy_bundle(tmp_path_factory.mktemp("bundle") / "toy")


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_media(tmp_path_factory.mktemp("media"), frames=9)


Serve = Callable[..., Any]


@pytest.fixture
def serve(bundle: Bundle, memory_folder: Path) -> Serve:
    """`with serve(**options) as (server, client)`: the next server of the folder."""

    @contextmanager
    def serving(**options: Any) -> Iterator[tuple[Server, Client]]:
        listen = Address("127.0.0.1", 0)
        values = {"farewell_s": 2.0, "reserve_nbytes": 0} | options
        engine = Engine(bundle, threads=1)
        with (
            Server(engine, memory_folder / "data", ServerOptions(listen, **values)) as server,
            Client(str(server.address), 60, retries=Retries(0)) as client,
        ):
            yield server, client

    return serving


def submission(client: Client, media: dict[str, Path], steps: int, **fields: Any) -> Submission:
    uploads: dict[str, Any] = {name: client.upload(path) for name, path in media.items()}
    choices = RequestChoices(segment_frames=5, seed=3, sampling=SamplingChoices(steps=steps))
    return Submission(**uploads, choices=choices, output_format=OutputFormat.FLOAT32, **fields)


def test_a_watcher_goes_on_with_the_next_server(serve: Serve, media: dict[str, Path]) -> None:
    events: list[Event] = []
    with serve() as (server, client):
        job_id = client.submit(submission(client, media, steps=1000))
        watching = client.watch(job_id)
        while not events or events[-1].step < 20:
            events.append(next(watching))
        server.__exit__(None, None, None)
        with pytest.raises(UnavailableError):
            events.extend(watching)
        assert not events[-1].state.final
    with serve() as (_, client):
        events += client.watch(job_id, events[-1].sequence)
        assert client.get(job_id).state is JobState.DONE
        assert b"".join(client.fetch_chunks(job_id))
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    steps = [(event.segment, event.step) for event in events if event.stage == "denoise"]
    assert steps == [(segment, step) for segment in (0, 1) for step in range(1, 1001)]


def test_a_full_disk_and_a_deadline_are_told(serve: Serve, media: dict[str, Path]) -> None:
    with serve(reserve_nbytes=1 << 60) as (server, client):
        paused = client.submit(submission(client, media, steps=2))
        late = client.submit(submission(client, media, steps=2, timeout_s=0.5))
        event = next(e for e in client.watch(paused) if e.state is JobState.PAUSED)
        assert isinstance(event.error, StorageFullError)
        assert "are to stay so" in str(event.error)
        with pytest.raises(DeadlineError):
            client.wait(late)
        assert client.get(paused).state is JobState.PAUSED
        server.room.reserve_nbytes = 0
    with serve() as (_, client):
        assert client.wait(paused).state is JobState.DONE


def test_jobs_outlive_an_engine_that_stops_by_a_bug(
    serve: Serve, media: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_engine: Engine, _lane: Lane) -> bool:
        raise RuntimeError("a wheel came off")

    with serve() as (server, client), monkeypatch.context() as patch:
        job_id = client.submit(submission(client, media, steps=1000))
        next(event for event in client.watch(job_id) if event.step > 2)
        patch.setattr(Engine, "step", broken)
        with pytest.raises(UnavailableError, match="a wheel came off"):
            client.wait(job_id)
        with pytest.raises(UnavailableError):
            client.require_serving()
        assert server.busy
    with serve() as (_, client):
        client.cancel(job_id)
        until = time.monotonic() + 10
        while not client.get(job_id).state.final:
            assert time.monotonic() < until
        assert client.get(job_id).state is JobState.CANCELLED
