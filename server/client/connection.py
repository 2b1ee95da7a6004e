"""How a client reaches a server: encrypted or not, and with what it shows who it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import grpc
from grpc_health.v1 import health_pb2_grpc

from wan_trt.engine.errors import InputError
from wan_trt.server.address import Address
from wan_trt.server.proto import wan_trt_v1_pb2 as wire
from wan_trt.server.proto import wan_trt_v1_pb2_grpc as wire_grpc

_OPTIONS = (
    ("grpc.max_receive_message_length", 2 << 20),
    ("grpc.enable_http_proxy", 0),
    ("grpc.keepalive_time_ms", 30_000),  # finds a server that vanished without a word
    ("grpc.keepalive_timeout_ms", 10_000),
    # When to try again is decided by retries.py; the channel has to be ready by then.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)

Metadata: TypeAlias = tuple[tuple[str, str], ...]
Methods: TypeAlias = Mapping[str, Callable[..., Any]]


@dataclass(frozen=True)
class ClientTls:
    """PEM files. `ca` vouches for the server; None are the authorities that gRPC knows. With
    `certificate` and `key` the client shows who it is."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Raises InputError for a file that cannot be read, and for half a pair."""
        if (self.certificate is None) != (self.key is None):
            raise InputError(
                "a certificate without its key, or the other way round",
                expected="both or none",
                field="tls_cert" if self.certificate is None else "tls_key",
            )
        return grpc.ssl_channel_credentials(
            _bytes(self.ca, "tls_ca"),
            _bytes(self.key, "tls_key"),
            _bytes(self.certificate, "tls_cert"),
        )


def open_channel(address: Address, tls: ClientTls | None) -> grpc.Channel:
    """Raises InputError for unusable files."""
    if tls is None:
        return grpc.insecure_channel(str(address), options=_OPTIONS)
    return grpc.secure_channel(str(address), tls.credentials(), options=_OPTIONS)


def open_async_channel(address: Address, tls: ClientTls | None) -> grpc.aio.Channel:
    """As `open_channel`; belongs to the event loop that runs."""
    if tls is None:
        return grpc.aio.insecure_channel(str(address), options=_OPTIONS)
    return grpc.aio.secure_channel(str(address), tls.credentials(), options=_OPTIONS)


def bearer(address: Address, tls: ClientTls | None, token: str | None) -> Metadata:
    """What shows the token in a call. gRPC's own call credentials want TLS, also on loopback.
    Raises InputError for a token that would go unencrypted over a network, or cannot be sent."""
    if token is None:
        return ()
    if tls is None and not address.loopback:
        raise InputError(
            f"a token for {address}, over a connection that everybody on the way can read",
            expected="TLS",
            action="give --tls or --tls-ca, or talk to 127.0.0.1, through a tunnel for example",
            field="server",
        )
    if not (token.isascii() and token.isprintable() and token and " " not in token):
        raise InputError("a token that is none", expected="what `wan-trt token new` printed")
    return (("authorization", f"Bearer {token}"),)


def methods_of(channel: grpc.Channel | grpc.aio.Channel) -> Methods:
    """What can be called, by name: all of VideoService, and `Check` of gRPC's health protocol."""
    stub: Any = wire_grpc.VideoServiceStub
    ours = stub(channel)
    names = [method.name for method in wire.DESCRIPTOR.services_by_name["VideoService"].methods]
    health: Any = health_pb2_grpc.HealthStub(channel)
    return {name: getattr(ours, name) for name in names} | {"Check": health.Check}


def _bytes(path: Path | None, field: str) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror})", expected="a PEM file", field=field
        ) from None
