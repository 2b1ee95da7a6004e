"""Settings of `wan-trt serve` as the options of what it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wan_trt.cli.extras import needs_extra
from wan_trt.cli.serve_settings import ServeSettings, StorageSettings

if TYPE_CHECKING:
    from wan_trt.engine.dispatch import SchedulingOptions
    from wan_trt.server.jobs import JobOptions
    from wan_trt.server.server import ServerOptions

_GIGABYTE = 10**9


def server_options(settings: ServeSettings) -> ServerOptions:
    """Raises InputError, also where traces are wanted and OpenTelemetry is not installed."""
    from wan_trt.server.server import ServerOptions
    from wan_trt.server.telemetry.tracing import open_tracing

    with needs_extra("telemetry"):
        tracing = open_tracing(settings.watching.traces)

    durable = settings.storage.data is not None
    return ServerOptions(
        settings.listening.listen,
        durable=durable,
        jobs=_job_options(settings.storage),
        # A temporary folder may be small, and nothing in it has to be told to a later server.
        reserve_nbytes=int(settings.storage.reserve_gigabytes * _GIGABYTE) if durable else 0,
        metrics_listen=settings.watching.metrics_listen,
        tracing=tracing,
    )


def scheduling_options(settings: ServeSettings) -> SchedulingOptions:
    from wan_trt.engine.dispatch import SchedulingOptions
    from wan_trt.engine.scheduling.preference import Policy

    scheduling = settings.scheduling
    return SchedulingOptions(Policy(scheduling.policy), not scheduling.admit_late)


def _job_options(storage: StorageSettings) -> JobOptions:
    from wan_trt.server.jobs import JobOptions
    from wan_trt.server.retention import DAY_S, Retention

    most = storage.keep_gigabytes
    retention = Retention(
        age_s=storage.keep_days * DAY_S, max_nbytes=None if most is None else int(most * _GIGABYTE)
    )
    return JobOptions(
        checkpoint_steps=storage.checkpoint_steps, attempts=storage.attempts, retention=retention
    )
