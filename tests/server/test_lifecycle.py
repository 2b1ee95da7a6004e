"""A server as its operator sees it: port, health, reflection, stopping."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from serving import MakeSubmission

from wan_trt.engine import Bundle, Engine, JobState
from wan_trt.engine.errors import ExecutionError, InputError, ResourceError
from wan_trt.engine.host_backend import HostBackend
from wan_trt.server.address import Address
from wan_trt.server.client import Client, Retries
from wan_trt.server.errors import UnavailableError
from wan_trt.server.jobs import Jobs
from wan_trt.server.security import SecurityOptions
from wan_trt.server.server import Server, ServerOptions
from wan_trt.server.worker import Tidier

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
NAMES = ("", "wan_trt.v1.VideoService")


def health_of(server: Server) -> list[int]:
    with grpc.insecure_channel(str(server.address)) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        return [
            stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=30).status
            for name in NAMES
        ]


def test_health_and_draining(
    server: Server, client: Client, make_submission: MakeSubmission
) -> None:
    assert health_of(server) == [SERVING, SERVING]
    client.require_serving()
    submission = make_submission(client, steps=30)
    job_id = client.submit(submission)
    server.drain()
    assert health_of(server) == [NOT_SERVING, NOT_SERVING]
    with pytest.raises(UnavailableError, match="stopping"):
        client.require_serving()
    with pytest.raises(UnavailableError, match="stopping"):
        client.submit(submission)
    assert client.wait(job_id).state is JobState.DONE
    assert b"".join(client.fetch_chunks(job_id))
    deadline = time.monotonic() + 10
    while server.busy:
        assert time.monotonic() < deadline


def test_reflection_tells_the_whole_api(server: Server) -> None:
    with grpc.insecure_channel(str(server.address)) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert set(database.get_services()) >= {"wan_trt.v1.VideoService", "grpc.health.v1.Health"}
        service = DescriptorPool(database).FindServiceByName("wan_trt.v1.VideoService")
        assert "Submit" in service.methods_by_name


def test_a_busy_port_is_bad_input(server: Server, tiny_bundle: Bundle, tmp_path: Path) -> None:
    with Engine(tiny_bundle) as engine, pytest.raises(InputError) as raised:
        Server(engine, tmp_path / "other", ServerOptions(server.address))
    assert raised.value.exit_code == 2
    assert str(server.address) in str(raised.value)
    assert "use another port" in str(raised.value)
    assert not (tmp_path / "other").exists()


def test_an_address_of_another_machine_is_bad_input(tiny_bundle: Bundle, tmp_path: Path) -> None:
    insecure = SecurityOptions(insecure=True)
    with Engine(tiny_bundle) as engine, pytest.raises(InputError, match="cannot listen"):
        Server(engine, tmp_path, ServerOptions(Address("192.0.2.1", 50051), security=insecure))


def test_a_data_folder_that_is_a_file_is_bad_input(tiny_bundle: Bundle, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with Engine(tiny_bundle) as engine, pytest.raises(InputError, match=r"^data: .*file"):
        Server(engine, file, ServerOptions(Address("127.0.0.1", 0)))


def threads_of_servers() -> list[str]:
    """Names of those that would keep the process."""
    kinds = ("engine", "tidier", "preparing", "rpc", "bundles")
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(kinds)]


@pytest.mark.parametrize("part", [(Tidier, "start"), (Jobs, "tidy")])
def test_a_start_that_fails_leaves_no_thread(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: tuple[type, str]
) -> None:
    """The process would go on without a port, and no signal would end it."""

    def fail(_: object) -> None:
        raise ResourceError("no room for a job of before")

    options = ServerOptions(Address("127.0.0.1", 0), metrics_listen=Address("127.0.0.1", 0))
    with monkeypatch.context() as patch:
        patch.setattr(*part, fail)
        with (
            pytest.raises(ResourceError, match="of before"),
            Server(Engine(tiny_bundle, threads=1), tmp_path / "data", options),
        ):
            pass
    assert not threads_of_servers()
    with Server(Engine(tiny_bundle, threads=1), tmp_path / "data", options) as server:
        assert health_of(server) == [SERVING, SERVING]


def test_an_engine_that_cannot_be_closed_does_not_keep_the_process(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(_: HostBackend) -> None:
        raise ExecutionError("the device is lost")

    monkeypatch.setattr(HostBackend, "close", lost)
    options = ServerOptions(Address("127.0.0.1", 0), farewell_s=0.1)
    with (
        pytest.raises(ExecutionError, match="the device is lost"),
        Server(Engine(tiny_bundle, threads=1), tmp_path / "data", options) as server,
    ):
        assert health_of(server) == [SERVING, SERVING]
    assert not threads_of_servers()
    with socket.socket() as probe:
        probe.bind((server.address.host, server.address.port))


def test_stopping_cancels_what_cannot_survive_and_frees_the_port(
    tiny_bundle: Bundle, tmp_path: Path, make_submission: MakeSubmission
) -> None:
    options = ServerOptions(Address("127.0.0.1", 0), durable=False, farewell_s=5)
    server = Server(Engine(tiny_bundle, threads=1), tmp_path / "data", options)
    with server, Client(str(server.address), retries=Retries(0)) as client:
        job_id = client.submit(make_submission(client, steps=1000))
        watching = client.watch(job_id)
        next(watching)
        server.__exit__(None, None, None)
        assert list(watching)[-1].state is JobState.CANCELLED
        with pytest.raises(UnavailableError):
            client.get(job_id)
        with socket.create_server((server.address.host, server.address.port)):
            pass
    assert not list((tmp_path / "data" / "jobs").iterdir())
