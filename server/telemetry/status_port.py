"""A second port, for those who watch over the server: /metrics, /healthz, /readyz by HTTP."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from wan_trt.server.address import Address
from wan_trt.server.free_port import unusable

Reason = Callable[[], str | None]
"""Why something is not so; None: it is."""

_TEXT = "text/plain; charset=utf-8"
_SLOW_S = 10.0  # a client that says nothing for so long is left


class StatusPort:
    """Answers from `start` to `close`, in threads of its own: neither calls nor the engine can
    keep it waiting."""

    def __init__(
        self, listen: Address, registry: CollectorRegistry, dead: Reason, not_ready: Reason
    ) -> None:
        """Raises InputError for an address that is taken or not of this machine."""

        class Handler(_Handler):
            pages = {  # noqa: RUF012
                "/metrics": lambda accept: _metrics(registry, accept),
                "/healthz": lambda _accept: _state("alive", dead()),
                "/readyz": lambda _accept: _state("ready", not_ready()),
            }

        try:
            self._http = _Http((listen.host, listen.port), Handler)
        except OSError as error:
            reason = error.strerror or str(error)
            raise unusable(listen, reason, "metrics_listen") from None
        self.address = Address(listen.host, self._http.server_port)
        self._thread = threading.Thread(
            target=self._http.serve_forever, name="status port", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        if self._thread.is_alive():
            self._http.shutdown()
            self._thread.join()
        self._http.server_close()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, place: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        if ":" in place[0]:
            self.address_family = socket.AF_INET6
        super().__init__(place, handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left; there is nobody to tell."""


class _Handler(BaseHTTPRequestHandler):
    pages: dict[str, Callable[[str], tuple[HTTPStatus, str, bytes]]]
    timeout = _SLOW_S
    server_version = "wan-trt"
    sys_version = ""

    def do_GET(self) -> None:
        page = self.pages.get(self.path.partition("?")[0])
        if page is None:
            self.send_error(HTTPStatus.NOT_FOUND, "one of /metrics, /healthz, /readyz")
            return
        status, kind, body = page(self.headers.get("Accept", ""))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Scrapes are no news."""


def _metrics(registry: CollectorRegistry, accept: str) -> tuple[HTTPStatus, str, bytes]:
    encode, kind = choose_encoder(accept)
    return HTTPStatus.OK, kind, encode(registry)


def _state(word: str, reason: str | None) -> tuple[HTTPStatus, str, bytes]:
    if reason is None:
        return HTTPStatus.OK, _TEXT, f"{word}\n".encode()
    return HTTPStatus.SERVICE_UNAVAILABLE, _TEXT, f"not {word}: {reason}\n".encode()
