"""A server: one engine, its jobs and its port.

    with Server(engine, folder, ServerOptions(listen)) as server:
        print(server.address)
        ...                       until it is to end
        server.drain()            no more submissions; `server.busy` tells whether jobs are left

Leaving the block cancels what is unfinished.
"""

from __future__ import annotations

import contextlib
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from wan_trt.engine.engine import REMEMBERED_JOBS, Engine
from wan_trt.engine.errors import InputError
from wan_trt.server.address import Address
from wan_trt.server.errors import UnavailableError
from wan_trt.server.jobs import Jobs
from wan_trt.server.proto import wan_trt_v1_pb2 as wire
from wan_trt.server.proto import wan_trt_v1_pb2_grpc as wire_grpc
from wan_trt.server.service import VideoService
from wan_trt.server.status import error_from_wire, error_to_wire
from wan_trt.server.uploads import Uploads
from wan_trt.server.worker import Worker

SERVICE_NAME: str = wire.DESCRIPTOR.services_by_name["VideoService"].full_name
MAX_MESSAGE_NBYTES = 2 << 20

_OPTIONS = (
    ("grpc.so_reuseport", 0),  # a second server on the port is refused, not given half the calls
    ("grpc.max_receive_message_length", MAX_MESSAGE_NBYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_NBYTES),
    ("grpc.keepalive_time_ms", 30_000),  # finds watchers that vanished without a word
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)


@dataclass(frozen=True)
class ServerOptions:
    """`max_unfinished` limits waiting and running jobs; the last `remembered` jobs that are over
    are known, the files of all stay. `calls` limits the RPCs at one time, of which `streams` may
    be uploads, watchers and fetches; `farewell_s` is what open calls get to end after the last
    job."""

    listen: Address
    max_upload_nbytes: int = 8 << 30
    max_unfinished: int = 100
    remembered: int = REMEMBERED_JOBS
    calls: int = 64
    streams: int = 48
    farewell_s: float = 5.0


class Server:
    """Listens from the start of the `with` block to its end. Closes the engine."""

    def __init__(self, engine: Engine, folder: Path, options: ServerOptions) -> None:
        """`folder` takes uploads and results. Raises InputError for an address that is taken or
        not of this machine, and for a folder that cannot be written."""
        _require_free(options.listen)
        uploads, results = _folders(folder, options)
        self._options = options
        self._jobs = Jobs(engine, uploads, results, options.max_unfinished, options.remembered)
        self._worker = Worker(engine, self._crashed)
        self._health = health.HealthServicer()
        self._threads = ThreadPoolExecutor(options.calls, thread_name_prefix="rpc")
        self._grpc = grpc.server(
            self._threads, options=_OPTIONS, maximum_concurrent_rpcs=options.calls
        )
        add: Any = wire_grpc.add_VideoServiceServicer_to_server
        add(VideoService(self._jobs, uploads, options.streams), self._grpc)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        reflection.enable_server_reflection(
            (SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME), self._grpc
        )
        try:
            port = self._grpc.add_insecure_port(str(options.listen))
        except RuntimeError as error:
            raise _unusable(options.listen, str(error)) from error
        self.address = Address(options.listen.host, port)

    @property
    def busy(self) -> bool:
        """Whether jobs wait or run."""
        return bool(self._jobs.unfinished())

    def __enter__(self) -> Server:
        self._worker.start()
        self._grpc.start()
        for name in ("", SERVICE_NAME):
            self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        return self

    def drain(self) -> None:
        """Take no more jobs, and say so: first to health checks, then to those who submit."""
        self._health.enter_graceful_shutdown()
        self._jobs.refuse(
            UnavailableError("the server is stopping", action="use another, or try again later")
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.drain()
        self._worker.stop()
        self._grpc.stop(self._options.farewell_s).wait()
        self._threads.shutdown()

    def _crashed(self, error: Exception) -> None:
        self.drain()
        self._jobs.fail_unfinished(error_from_wire(error_to_wire(error)))


def _folders(folder: Path, options: ServerOptions) -> tuple[Uploads, Path]:
    try:
        results = folder.absolute() / "jobs"
        results.mkdir(parents=True, exist_ok=True)
        return Uploads(folder.absolute() / "uploads", options.max_upload_nbytes), results
    except OSError as error:
        raise InputError(
            f"{folder}: {error.strerror}", expected="a folder that can be written", field="data"
        ) from None


def _require_free(address: Address) -> None:
    """gRPC does not say why it cannot listen; the system does."""
    try:
        kind, *_, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with contextlib.closing(socket.socket(kind, socket.SOCK_STREAM)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
            probe.listen(1)
    except OSError as error:
        raise _unusable(address, error.strerror or str(error)) from None


def _unusable(address: Address, reason: str) -> InputError:
    return InputError(
        f"cannot listen on {address} ({reason})",
        expected="a free port of this machine",
        action="stop what listens there, or use another port (0: any free one)",
        field="listen",
    )
