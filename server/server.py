"""A server: its bundles, their jobs and its port.

    with Server(engine, folder, ServerOptions(listen)) as server:
        print(server.address)
        ...                       until it is to end
        server.drain()            no more submissions; `server.busy` tells whether jobs are left

Leaving the block leaves what is unfinished to the next server of the same folder; a folder that
is not durable has none, and the jobs are cancelled.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from wan_trt.engine.engine import Engine
from wan_trt.server.address import Address
from wan_trt.server.bundles.admin import BundleAdmin
from wan_trt.server.bundles.loading import BundleRoots, OpenEngine
from wan_trt.server.bundles.messages import Offer
from wan_trt.server.bundles.registry import BundleEntry, BundleRegistry
from wan_trt.server.bundles.served import ServedBundle
from wan_trt.server.bundles.state import BundleState
from wan_trt.server.calls import Calls, OpenAccess
from wan_trt.server.errors import UnavailableError
from wan_trt.server.first_look import FirstLook
from wan_trt.server.free_port import require_free, unusable
from wan_trt.server.health import MAX_HEALTH_WATCHERS, Health
from wan_trt.server.health import SERVICE_NAME as HEALTH_NAME
from wan_trt.server.input_roots import InputRoots
from wan_trt.server.jobs import JobOptions, Jobs
from wan_trt.server.proto import wan_trt_v1_pb2 as wire
from wan_trt.server.proto import wan_trt_v1_pb2_grpc as wire_grpc
from wan_trt.server.quotas import Quotas
from wan_trt.server.reflection import MAX_OPEN_REFLECTIONS, Reflection
from wan_trt.server.security import SecurityOptions
from wan_trt.server.server_files import ServerFiles
from wan_trt.server.service import VideoService
from wan_trt.server.status import error_from_wire, error_to_wire
from wan_trt.server.store.data_folder import DataFolder
from wan_trt.server.store.room import RESERVE_NBYTES, Room
from wan_trt.server.telemetry.telemetry import Telemetry
from wan_trt.server.telemetry.tracing import Tracing
from wan_trt.server.telemetry.watched_calls import CountBytes
from wan_trt.server.tls import ServerTls
from wan_trt.server.uploads import Uploads
from wan_trt.server.worker import Tidier

SERVICE_NAME: str = wire.DESCRIPTOR.services_by_name["VideoService"].full_name
MAX_MESSAGE_NBYTES = 2 << 20

_OPTIONS = (
    ("grpc.so_reuseport", 0),  # a second server on the port is refused, not given half the calls
    ("grpc.max_receive_message_length", MAX_MESSAGE_NBYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_NBYTES),
    ("grpc.keepalive_time_ms", 30_000),  # finds watchers that vanished without a word
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 2),  # pings that come faster end the connection
    ("grpc.max_metadata_size", 8 << 10),  # above it calls are refused, some of them at once
    ("grpc.absolute_max_metadata_size", 16 << 10),  # above it all of them
    ("grpc.server_handshake_timeout_ms", 10_000),
)


@dataclass(frozen=True)
class ServerOptions:
    """`durable`: jobs survive the server. Jobs pause rather than take the last `reserve_nbytes` of
    the disk. `streams` uploads, watchers, fetches and submissions run at a time, and `short_calls`
    others, such as Cancel; `farewell_s` is what open calls get to end after the last job.
    Connections above `max_connections` are closed as they come. Metrics and readiness are told on
    `metrics_listen`; `tracing`, which the server closes, takes spans. `open_engine` makes the
    engines of bundles that are added below `bundle_roots`; without it there are no others than the
    one it begins with."""

    listen: Address
    durable: bool = True
    jobs: JobOptions = field(default_factory=JobOptions)
    reserve_nbytes: int = RESERVE_NBYTES
    max_upload_nbytes: int = 8 << 30
    streams: int = 384
    short_calls: int = 64
    farewell_s: float = 5.0
    max_connections: int = 1000
    security: SecurityOptions = field(default_factory=SecurityOptions)
    metrics_listen: Address | None = None
    tracing: Tracing = field(default_factory=Tracing)
    bundle_roots: tuple[Path, ...] = ()
    open_engine: OpenEngine | None = None

    @property
    def calls(self) -> int:
        """That run at a time; each has a thread, also those who watch health."""
        return self.streams + self.short_calls + MAX_HEALTH_WATCHERS


class Server:
    """Listens from the start of the `with` block to its end. Closes the engine, and those of
    bundles that were added."""

    def __init__(self, engine: Engine, folder: Path, options: ServerOptions) -> None:
        """`folder` takes uploads, jobs and results. Raises InputError for an address that is taken
        or not of this machine, or that is not safe to listen on, for certificates and principals
        that cannot be used, and for a folder that cannot be written, or that another server
        uses."""
        options.security.require_safe(options.listen)
        self._tls = ServerTls(options.security.tls) if options.security.tls else None
        self._access = options.security.open_access()
        self._roots = InputRoots(options.security.input_roots)
        self._bundle_roots = BundleRoots(options.bundle_roots)
        require_free(options.listen, "listen")
        options.jobs.media.prepare()
        with ExitStack() as opened:
            self._data = DataFolder(folder, options.durable)
            opened.callback(self._data.close)
            self._build(engine, options)
            opened.pop_all()

    def _build(self, engine: Engine, options: ServerOptions) -> None:
        uploads = Uploads(self._data.uploads, options.max_upload_nbytes)
        self.room = Room(self._data.path, options.reserve_nbytes)
        self._options = options
        self._broken = False
        self._stopped = False
        self._not_ready: str | None = "starting"
        self.telemetry = Telemetry(options.tracing, lambda: self._not_ready)
        quotas = Quotas()
        self._bundles = BundleRegistry()
        self._jobs = Jobs(
            *(self._bundles, self._data, uploads, self.room, options.jobs, quotas),
            self.telemetry.jobs,
        )
        self.telemetry.ask(
            *(self._bundles, self._jobs, self._data.path, self.room.reserve_nbytes),
            lambda: self.tls_expires,
        )
        self._admin = BundleAdmin(
            *(self._bundles, self._jobs.of_bundles, self._data.store.bundles, self._bundle_roots),
            Offer(options.jobs.networks, options.max_upload_nbytes, options.jobs.max_unfinished),
            self._put_to_work,
            lambda name, serving: self._health.tell(f"{SERVICE_NAME}/{name}", serving),
            options.open_engine,
        )
        self._admin.begin_with(engine)
        self._tidier = Tidier(self._tidy)
        self._health = Health(("", SERVICE_NAME))
        self._threads = ThreadPoolExecutor(options.calls, thread_name_prefix="rpc")
        self._grpc = grpc.server(
            self._threads,
            interceptors=[
                FirstLook(self._access),
                CountBytes(self.telemetry.metrics, SERVICE_NAME),
            ],
            options=(
                *_OPTIONS,
                ("grpc.max_concurrent_streams", options.calls),
                ("grpc.max_allowed_incoming_connections", options.max_connections),
            ),
            maximum_concurrent_rpcs=options.calls,
        )
        add: Any = wire_grpc.add_VideoServiceServicer_to_server
        calls = Calls(self._access, quotas, options.streams, self.telemetry.calls)
        files = ServerFiles(self._roots, uploads, self._jobs.room_for_upload)
        add(VideoService(self._jobs, uploads, files, calls, self._admin), self._grpc)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        reflection_calls = (
            Calls(OpenAccess(), quotas, MAX_OPEN_REFLECTIONS, self.telemetry.calls)
            if options.security.open_reflection
            else calls
        )
        names = (SERVICE_NAME, HEALTH_NAME, reflection.SERVICE_NAME)
        add_reflection: Any = reflection_pb2_grpc.add_ServerReflectionServicer_to_server
        add_reflection(Reflection(names, reflection_calls), self._grpc)
        self.address = Address(options.listen.host, self._listen(options.listen))
        if options.metrics_listen is not None:
            self.telemetry.listen(
                options.metrics_listen, lambda: self._not_ready if self._broken else None
            )

    def _listen(self, address: Address) -> int:
        try:
            if self._tls is None:
                return self._grpc.add_insecure_port(str(address))
            return self._grpc.add_secure_port(str(address), self._tls.credentials())
        except RuntimeError as error:
            raise unusable(address, str(error), "listen") from error

    @property
    def engine(self) -> Engine:
        """Of the first bundle."""
        return self._bundles.served[0].engine

    @property
    def tls_expires(self) -> datetime | None:
        """When the first certificate in use ends; None without TLS."""
        return None if self._tls is None else self._tls.expires

    def _tidy(self) -> None:
        if self._tls is not None:
            self._tls.warn_of_expiry()
        self._jobs.tidy()

    @property
    def busy(self) -> bool:
        """Whether jobs wait or run."""
        return bool(self._jobs.unfinished())

    @property
    def alive(self) -> bool:
        """Whether jobs can go on; once they cannot, only another process helps."""
        return not self._broken

    def __enter__(self) -> Server:
        try:
            self.telemetry.start()
            self._admin.restore()
            self._jobs.recover()
            self._admin.start()
            self._tidier.start()
            self._grpc.start()
        except BaseException:  # threads that run already would keep the process for good
            self._broken = True
            self.__exit__(None, None, None)
            raise
        for name in ("", SERVICE_NAME):
            self._health.tell(name, serving=True)
        self._not_ready = None
        return self

    def drain(self) -> None:
        """Take no more jobs, and say so: first to health checks, then to those who submit."""
        self._not_ready = self._not_ready or "stopping"
        self._health.stop()
        self._jobs.refuse(
            UnavailableError("the server is stopping", action="use another, or try again later")
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Each part ends, whatever goes wrong with others: a thread that is left would keep the
        process, which no signal ends any more. A second time nothing happens."""
        if self._stopped:
            return
        self._stopped = True
        self.drain()
        with ExitStack() as last_first:
            for part in (self.telemetry.close, self._data.close, self._threads.shutdown):
                last_first.callback(part)
            last_first.callback(lambda: self._grpc.stop(self._options.farewell_s).wait())
            for part in (self._leave, self._tidier.stop, self._stop_bundles, self._admin.close):
                last_first.callback(part)

    def _stop_bundles(self) -> None:
        with ExitStack() as last_first:
            for served in reversed(self._bundles.served):
                last_first.callback(served.stop, suspend=self._options.durable)

    def _leave(self) -> None:
        self._jobs.leave_unfinished(
            UnavailableError("the server was stopped", action="watch again when it is back")
        )
        if not self._broken:
            self._jobs.end_well()

    def _put_to_work(self, entry: BundleEntry, engine: Engine) -> ServedBundle:
        self.telemetry.observe(engine)
        return self._jobs.at_work(engine, lambda error: self._crashed(entry, error))

    def _crashed(self, entry: BundleEntry, error: Exception) -> None:
        """A bundle's jobs do not go on in this process. Those that can wait do so, for a process in
        which they do; without another bundle that works, the server is of no use."""
        gone = UnavailableError(
            f"the engine stopped by a bug ({type(error).__name__}: {error})",
            action="watch again when the server was started anew",
        )
        self._bundles.break_(entry, gone)
        self._health.tell(f"{SERVICE_NAME}/{entry.name}", serving=False)
        of_use = (BundleState.SERVING, BundleState.DRAINING)
        if not any(other.state in of_use for other in self._bundles.entries):
            self._broken = True
            self._not_ready = "the engine stopped by a bug; the log says which"
            self.drain()
        if self._options.durable:
            self._jobs.of_bundles.leave(entry, gone)
        else:
            self._jobs.of_bundles.fail(entry, error_from_wire(error_to_wire(error)))
