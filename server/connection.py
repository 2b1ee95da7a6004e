"""How a client reaches a server: encrypted or not, and with what it shows who it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from wan_trt.engine.errors import InputError
from wan_trt.server.address import Address

_OPTIONS = (
    ("grpc.max_receive_message_length", 2 << 20),
    ("grpc.enable_http_proxy", 0),
    ("grpc.keepalive_time_ms", 30_000),  # finds a server that vanished without a word
    ("grpc.keepalive_timeout_ms", 10_000),
)


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


def open_channel(address: Address, tls: ClientTls | None, token: str | None) -> grpc.Channel:
    """A channel whose calls carry the token. Raises InputError for one that would go unencrypted
    over a network, for one that cannot be sent, and for unusable files."""
    if tls is None:
        channel = grpc.insecure_channel(str(address), options=_OPTIONS)
    else:
        channel = grpc.secure_channel(str(address), tls.credentials(), options=_OPTIONS)
    if token is None:
        return channel
    if tls is None and not address.loopback:
        channel.close()
        raise InputError(
            f"a token for {address}, over a connection that everybody on the way can read",
            expected="TLS",
            action="give --tls or --tls-ca, or talk to 127.0.0.1, through a tunnel for example",
            field="server",
        )
    if not (token.isascii() and token.isprintable() and token and " " not in token):
        channel.close()
        raise InputError("a token that is none", expected="what `wan-trt token new` printed")
    return grpc.intercept_channel(channel, _Bearer(token))


class _Bearer(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Adds the token to every call. gRPC's own call credentials want TLS, also on loopback."""

    def __init__(self, token: str) -> None:
        self._header = ("authorization", f"Bearer {token}")

    def intercept_unary_unary(
        self, continuation: Any, client_call_details: Any, request: Any
    ) -> Any:
        return continuation(self._marked(client_call_details), request)

    def intercept_unary_stream(
        self, continuation: Any, client_call_details: Any, request: Any
    ) -> Any:
        return continuation(self._marked(client_call_details), request)

    def intercept_stream_unary(
        self, continuation: Any, client_call_details: Any, request_iterator: Any
    ) -> Any:
        return continuation(self._marked(client_call_details), request_iterator)

    def intercept_stream_stream(
        self, continuation: Any, client_call_details: Any, request_iterator: Any
    ) -> Any:
        return continuation(self._marked(client_call_details), request_iterator)

    def _marked(self, details: Any) -> Any:
        return details._replace(metadata=(*(details.metadata or ()), self._header))


def _bytes(path: Path | None, field: str) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror})", expected="a PEM file", field=field
        ) from None
