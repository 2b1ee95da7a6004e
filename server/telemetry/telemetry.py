"""All that a server tells of itself, in one piece."""

from __future__ import annotations

from pathlib import Path

from wan_trt.engine.engine import Engine
from wan_trt.server.address import Address
from wan_trt.server.bundles.registry import BundleRegistry
from wan_trt.server.telemetry.metrics import Metrics
from wan_trt.server.telemetry.server_state import CountsJobs, Expiry, ServerState
from wan_trt.server.telemetry.status_port import Reason, StatusPort
from wan_trt.server.telemetry.tracing import Tracing
from wan_trt.server.telemetry.watched_calls import WatchedCalls
from wan_trt.server.telemetry.watched_jobs import WatchedJobs


class Telemetry:
    """Metrics, spans and the second port of one server. Closes `tracing`."""

    def __init__(self, tracing: Tracing, not_ready: Reason) -> None:
        """`not_ready` says why no jobs are taken."""
        self.metrics = Metrics()
        self.metrics.ready.set_function(lambda: not_ready() is None)
        self.calls = WatchedCalls(self.metrics, tracing)
        self.jobs = WatchedJobs(self.metrics, tracing)
        self._tracing = tracing
        self._not_ready = not_ready
        self.status_port: StatusPort | None = None

    def observe(self, engine: Engine) -> None:
        """The engine, which nobody steps yet, tells its work from now on."""
        self.metrics.tell_build(engine.bundle)
        engine.observer = self.jobs.of_engine()

    def ask(
        self,
        bundles: BundleRegistry,
        jobs: CountsJobs,
        folder: Path,
        reserve_nbytes: int,
        expires: Expiry,
    ) -> None:
        """Whom to ask how things stand, at each scrape."""
        self.metrics.registry.register(ServerState(bundles, jobs, folder, reserve_nbytes, expires))

    def listen(self, listen: Address, dead: Reason) -> None:
        """Have a second port. Raises InputError for an address that cannot be listened on."""
        self.status_port = StatusPort(listen, self.metrics.registry, dead, self._not_ready)

    def start(self) -> None:
        if self.status_port is not None:
            self.status_port.start()

    def close(self) -> None:
        """Nothing happens any more that could be told."""
        self._tracing.close()
        if self.status_port is not None:
            self.status_port.close()
