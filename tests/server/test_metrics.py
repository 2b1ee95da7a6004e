"""The second port of a server that did jobs: its numbers are those of what was done."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest
from durable import write_media
from prometheus_client.parser import text_string_to_metric_families
from toy_bundle import write_toy_bundle
from toy_server import ANY_PORT, toy_server, toy_submission

from wan_trt.engine import Bundle, Engine, JobState
from wan_trt.engine.errors import AdmissionError, InputError, NotFoundError
from wan_trt.engine.memory.footprint import VideoSize
from wan_trt.engine.observer import Observer
from wan_trt.engine.scheduling.unit import Unit
from wan_trt.server.client import Client, Retries
from wan_trt.server.errors import UnavailableError
from wan_trt.server.server import Server, ServerOptions
from wan_trt.server.telemetry.metrics import MOST_SIZES, Metrics


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_toy_bundle(tmp_path_factory.mktemp("bundle") / "toy", high=0.5, low=0.25)


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_media(tmp_path_factory.mktemp("media"), frames=7)


@pytest.fixture
def server(bundle: Bundle, memory_folder: Path) -> Iterator[Server]:
    with toy_server(bundle, memory_folder / "data") as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(str(server.address), 60, retries=Retries(0)) as client:
        yield client


def get(server: Server, path: str) -> tuple[int, str]:
    assert server.telemetry.status_port is not None
    address = server.telemetry.status_port.address
    connection = http.client.HTTPConnection(address.host, address.port, timeout=30)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def scraped(server: Server) -> dict[str, float]:
    """All samples, as `name{label="value",..}`."""
    status, text = get(server, "/metrics")
    assert status == 200
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
            found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


def summed(samples: dict[str, float], name: str) -> float:
    return sum(value for key, value in samples.items() if key.partition("{")[0] == name)


def test_a_job_in_numbers(server: Server, client: Client, media: dict[str, Path]) -> None:
    job_id = client.submit(toy_submission(client, media, steps=2, timeout_s=600.0))
    assert client.wait(job_id).state is JobState.DONE
    content = b"".join(client.fetch_chunks(job_id))
    with pytest.raises(NotFoundError):
        client.get("nobody")

    seen = scraped(server)
    assert summed(seen, "wan_trt_step_seconds_count") == 4  # two segments
    steps = [key for key in seen if key.startswith("wan_trt_step_seconds_count")]
    assert all('size="32x16x5"' in key for key in steps)
    assert all('precision="fp32"' in key and 'engine="denoiser.' in key for key in steps)
    assert seen['wan_trt_stage_seconds_count{stage="conditioning"}'] == 2
    assert seen['wan_trt_stage_seconds_count{stage="decode"}'] == 2
    assert seen['wan_trt_stage_seconds_count{stage="result"}'] == 1
    assert seen["wan_trt_queue_seconds_count"] == 1
    assert seen["wan_trt_scheduler_decision_seconds_count"] >= 8
    assert seen["wan_trt_checkpoint_seconds_count"] >= 2
    assert seen["wan_trt_checkpoint_bytes_total"] > 0
    assert seen['wan_trt_jobs_finished_total{state="done"}'] == 1
    assert seen['wan_trt_jobs{state="done"}'] == 1
    assert seen['wan_trt_jobs{state="running"}'] == 0
    assert seen['wan_trt_deadlines_total{outcome="hit"}'] == 1
    assert seen['wan_trt_deadlines_total{outcome="miss"}'] == 0
    assert seen["wan_trt_preemptions_total"] == 0
    assert seen['wan_trt_pages{state="used"}'] == 0
    assert seen['wan_trt_pages{state="free"}'] > 0
    assert seen["wan_trt_disk_free_bytes"] > 0

    assert seen['wan_trt_calls_total{code="OK",method="Upload"}'] == 3
    assert seen['wan_trt_calls_total{code="NOT_FOUND",method="Get"}'] == 1
    assert (
        seen['wan_trt_call_errors_total{code="NOT_FOUND",kind="NotFoundError",method="Get"}'] == 1
    )
    assert seen['wan_trt_call_seconds_count{method="Watch"}'] == 1
    assert seen['wan_trt_calls_in_flight{method="Watch"}'] == 0
    assert len(content) < seen['wan_trt_sent_bytes_total{method="Fetch"}'] < len(content) + 1000
    assert seen['wan_trt_received_bytes_total{method="Upload"}'] > 0
    assert seen["wan_trt_ready"] == 1
    assert job_id not in get(server, "/metrics")[1]


def test_refused_late_and_interrupted_jobs_are_counted(
    server: Server, client: Client, media: dict[str, Path]
) -> None:
    late = client.submit(toy_submission(client, media, steps=400, timeout_s=0.05))
    assert [event.state for event in client.watch(late)][-1] is JobState.FAILED
    long = client.submit(toy_submission(client, media, steps=400))
    watching = client.watch(long)
    for event in watching:
        if event.stage == "denoise":
            break
    client.wait(client.submit(toy_submission(client, media, steps=2)))  # least work goes first
    with pytest.raises(AdmissionError):  # what it takes is known by now
        client.submit(toy_submission(client, media, steps=400, timeout_s=0.05))
    assert scraped(server)['wan_trt_calls_in_flight{method="Watch"}'] == 1
    client.cancel(long)
    assert list(watching)[-1].state is JobState.CANCELLED
    server.drain()
    with pytest.raises(UnavailableError, match="stopping"):
        client.submit(toy_submission(client, media))
    seen = scraped(server)
    assert seen["wan_trt_preemptions_total"] >= 1
    assert seen['wan_trt_deadlines_total{outcome="miss"}'] == 1
    assert seen['wan_trt_job_failures_total{kind="DeadlineError"}'] == 1
    assert seen['wan_trt_admissions_refused_total{reason="stopping"}'] == 1
    assert seen['wan_trt_admissions_refused_total{reason="deadline"}'] == 1
    assert seen['wan_trt_jobs_finished_total{state="cancelled"}'] == 1


def test_readiness_while_draining(server: Server) -> None:
    assert get(server, "/readyz") == (200, "ready\n")
    assert get(server, "/healthz") == (200, "alive\n")
    server.drain()
    assert get(server, "/readyz") == (503, "not ready: stopping\n")
    assert get(server, "/healthz") == (200, "alive\n")
    assert scraped(server)["wan_trt_ready"] == 0
    assert get(server, "/secrets")[0] == 404


def test_an_engine_that_stopped_by_a_bug_is_not_alive(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch, media: dict[str, Path]
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("wan_trt.engine.dispatch.Dispatcher.next", broken)
    job_id = client.submit(toy_submission(client, media))
    with pytest.raises(UnavailableError, match="by a bug"):
        client.wait(job_id)
    status, text = get(server, "/healthz")
    assert status == 503
    assert "the engine stopped by a bug" in text


def test_a_busy_port_is_bad_input(server: Server, bundle: Bundle, tmp_path: Path) -> None:
    assert server.telemetry.status_port is not None
    options = ServerOptions(ANY_PORT, metrics_listen=server.telemetry.status_port.address)
    with (
        Engine(bundle) as engine,
        pytest.raises(InputError, match="metrics_listen: cannot listen on"),
    ):
        Server(engine, tmp_path / "other", options)


def test_sizes_that_clients_choose_are_bounded() -> None:
    metrics = Metrics()
    sizes = [VideoSize(16 * n, 16, 5) for n in range(1, 2 * MOST_SIZES)]
    labels = {metrics.size(size) for size in sizes}
    assert len(labels) == MOST_SIZES + 1
    assert metrics.size(sizes[0]) == "16x16x5"
    assert metrics.size(sizes[-1]) == "other"


class Raising(Observer):
    def begins(self, unit: Unit) -> None:
        raise RuntimeError(unit.stage)

    def decided(self, seconds: float) -> None:
        raise RuntimeError(f"{seconds}")


def test_an_observer_that_raises_harms_no_job(
    server: Server,
    client: Client,
    media: dict[str, Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    server.engine.observer = Raising()
    assert client.wait(client.submit(toy_submission(client, media))).state is JobState.DONE
    assert "an observer of the engine failed" in caplog.text
