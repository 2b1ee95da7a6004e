"""Health as probes and load balancers ask for it, from a server that anybody may ask."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from serving import MakeServer

from wan_trt.server.health import MAX_HEALTH_WATCHERS
from wan_trt.server.server import SERVICE_NAME, Server

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def health(server: Server) -> Iterator[Any]:
    with grpc.insecure_channel(str(server.address)) as channel:
        yield health_pb2_grpc.HealthStub(channel)


def request(service: str = "") -> health_pb2.HealthCheckRequest:
    return health_pb2.HealthCheckRequest(service=service)


def refusal(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as raised:
        next(call)
    error: Any = raised.value
    code: grpc.StatusCode = error.code()
    return code


def watcher(health: Any) -> Any:
    """One that has been told how the server is, as soon as there is a place."""
    while True:
        watch = health.Watch(request(), timeout=30)
        try:
            assert next(watch).status == SERVING
        except grpc.RpcError:
            assert watch.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        else:
            return watch


def test_a_watcher_is_told_that_the_server_stops(server: Server, health: Any) -> None:
    watches = [health.Watch(request(name), timeout=30) for name in ("", SERVICE_NAME)]
    for watch in watches:
        assert next(watch).status == SERVING
    server.drain()
    for watch in watches:
        assert next(watch).status == NOT_SERVING
    assert health.Check(request(), timeout=30).status == NOT_SERVING


def test_watchers_cannot_take_all_places(make_server: MakeServer) -> None:
    server = make_server(streams=1, short_calls=1)
    with grpc.insecure_channel(str(server.address)) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        watching = [watcher(health) for _ in range(MAX_HEALTH_WATCHERS)]
        assert refusal(health.Watch(request(), timeout=30)) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert refusal(health.Watch(request("x"), timeout=30)) is grpc.StatusCode.NOT_FOUND
        assert health.Check(request(), timeout=30).status == SERVING
        watching[0].cancel()
        assert watcher(health).is_active(), "who leaves makes room"


def test_watchers_that_come_and_go_do_not_stop_the_server(health: Any) -> None:
    with ThreadPoolExecutor(MAX_HEALTH_WATCHERS) as several:
        list(several.map(lambda _: watcher(health).cancel(), range(400)))
    assert health.Check(request(), timeout=30).status == SERVING
