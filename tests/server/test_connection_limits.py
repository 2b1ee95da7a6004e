"""What one connection, or too many of them, cannot do to a server: HTTP/2 frames by hand."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import pytest
from serving import MakeServer

from wan_trt.server.client import Client
from wan_trt.server.health import MAX_HEALTH_WATCHERS
from wan_trt.server.proto import wan_trt_v1_pb2 as wire
from wan_trt.server.proto import wan_trt_v1_pb2_grpc as wire_grpc
from wan_trt.server.server import Server

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, PING, GOAWAY = 4, 6, 7
MAX_CONCURRENT_STREAMS = 3  # the number of that setting
ENHANCE_YOUR_CALM = 11


def frame(kind: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, 0)) + bytes(4) + payload


def connect(server: Server) -> socket.socket:
    """A connection that has said that it speaks HTTP/2."""
    connection = socket.create_connection((server.address.host, server.address.port), timeout=20)
    connection.sendall(PREFACE + frame(SETTINGS))
    return connection


def frames(connection: socket.socket) -> Iterator[tuple[int, bytes]]:
    """Kinds and payloads of what the server sends, until it hangs up."""
    with connection.makefile("rb") as stream:
        while len(header := stream.read(9)) == 9:
            yield header[3], stream.read(int.from_bytes(header[:3]))


def settings(connection: socket.socket) -> dict[int, int]:
    for kind, payload in frames(connection):
        if kind == SETTINGS and payload:
            return dict(struct.iter_unpack(">HI", payload))
    raise ConnectionError("the server hung up")


def test_a_connection_is_told_how_many_calls_it_may_make(make_server: MakeServer) -> None:
    with connect(make_server(streams=3, short_calls=4)) as connection:
        assert settings(connection)[MAX_CONCURRENT_STREAMS] == 7 + MAX_HEALTH_WATCHERS


def test_who_pings_without_end_is_cut_off(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(frame(PING, bytes(8)) * 20)
        ends = [payload for kind, payload in frames(connection) if kind == GOAWAY]
    assert struct.unpack(">I", ends[-1][4:8]) == (ENHANCE_YOUR_CALM,)


def test_connections_above_the_limit_are_closed_and_the_others_go_on(
    make_server: MakeServer,
) -> None:
    server = make_server(max_connections=3)
    with Client(str(server.address)) as client, ExitStack() as opened:
        client.require_serving()
        for _ in range(2):
            settings(opened.enter_context(connect(server)))
        with pytest.raises(ConnectionError):
            settings(opened.enter_context(connect(server)))
        client.require_serving()


def test_headers_are_bounded(server: Server) -> None:
    make: Any = wire_grpc.VideoServiceStub
    with grpc.insecure_channel(str(server.address)) as channel:
        stub = make(channel)
        for metadata in ((("x-long", "a" * 100_000),), [(f"x-{i}", "a" * 50) for i in range(1000)]):
            with pytest.raises(grpc.RpcError) as raised:
                stub.Get(wire.GetRequest(job_id="nobody"), metadata=metadata, timeout=20)
            error: Any = raised.value
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        with pytest.raises(grpc.RpcError) as raised:
            stub.Get(wire.GetRequest(job_id="nobody"), timeout=20)
        error = raised.value
        assert error.code() is grpc.StatusCode.NOT_FOUND
