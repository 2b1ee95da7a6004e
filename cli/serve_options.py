"""Settings of `wan-trt serve` as the options of what it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wan_trt.cli.device_options import open_engine
from wan_trt.cli.extras import needs_extra
from wan_trt.cli.serve_settings import (
    MediaSettings,
    ModelSettings,
    SecuritySettings,
    ServeSettings,
)
from wan_trt.engine.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wan_trt.engine import Bundle, Engine
    from wan_trt.engine.dispatch import SchedulingOptions
    from wan_trt.preprocess.networks.folder import NetworkFolder
    from wan_trt.server.jobs import JobOptions
    from wan_trt.server.media_options import MediaOptions
    from wan_trt.server.security import SecurityOptions
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
        streams=settings.listening.max_streams,
        security=security_options(settings.security),
        jobs=_job_options(settings),
        # A temporary folder may be small, and nothing in it has to be told to a later server.
        reserve_nbytes=int(settings.storage.reserve_gigabytes * _GIGABYTE) if durable else 0,
        metrics_listen=settings.watching.metrics_listen,
        tracing=tracing,
        bundle_roots=bundle_roots(settings.model),
        open_engine=_open_engine(settings),
    )


def bundle_roots(model: ModelSettings) -> tuple[Path, ...]:
    """Raises InputError where they are of no use."""
    if model.bundle_root and model.device != "cpu":
        raise InputError(
            f"--device {model.device}",
            expected="one bundle at a time on a GPU, so far",
            action="leave --bundle-root out, or serve on the CPU",
            field="bundle_root",
        )
    return model.bundle_root


def _open_engine(settings: ServeSettings) -> Callable[[Bundle], Engine] | None:
    model = settings.model
    if model.device != "cpu":
        return None
    scheduling = scheduling_options(settings)
    return lambda bundle: open_engine(bundle, model.device, model.threads, scheduling)


def security_options(security: SecuritySettings) -> SecurityOptions:
    """Raises InputError for settings that do not fit together."""
    from wan_trt.server.security import SecurityOptions
    from wan_trt.server.tls import TlsFiles

    certificate, key = security.tls_cert, security.tls_key
    tls = None
    if certificate is not None and key is not None:
        tls = TlsFiles(certificate, key, security.tls_client_ca)
    elif certificate or key or security.tls_client_ca:
        missing = "tls_key" if certificate else "tls_cert"
        raise InputError("missing", expected="both --tls-cert and --tls-key", field=missing)
    return SecurityOptions(
        tls=tls,
        access=security.access,
        input_roots=security.input_root,
        insecure=security.insecure_listen,
        open_reflection=security.open_reflection,
    )


def scheduling_options(settings: ServeSettings) -> SchedulingOptions:
    from wan_trt.engine.dispatch import SchedulingOptions
    from wan_trt.engine.scheduling.preference import Policy

    scheduling = settings.scheduling
    return SchedulingOptions(Policy(scheduling.policy), not scheduling.admit_late)


def networks(model: ModelSettings) -> NetworkFolder | None:
    """Raises InputError for a folder that is not there."""
    from wan_trt.preprocess.networks.folder import NetworkFolder
    from wan_trt.preprocess.networks.onnx_network import NetworkDevice

    if model.models is None:
        return None
    return NetworkFolder.find(model.models, NetworkDevice(model.device))


def _job_options(settings: ServeSettings) -> JobOptions:
    from wan_trt.server.jobs import JobOptions
    from wan_trt.server.retention import DAY_S, Retention

    storage = settings.storage
    most = storage.keep_gigabytes
    retention = Retention(
        age_s=storage.keep_days * DAY_S, max_nbytes=None if most is None else int(most * _GIGABYTE)
    )
    return JobOptions(
        max_unfinished=settings.scheduling.max_unfinished,
        networks=networks(settings.model),
        checkpoint_steps=storage.checkpoint_steps,
        attempts=storage.attempts,
        media=_media_options(settings.media),
        retention=retention,
    )


def _media_options(media: MediaSettings) -> MediaOptions:
    from wan_trt.media import MediaLimits
    from wan_trt.media.isolation import ProcessLimits
    from wan_trt.server.media_options import MediaOptions

    limits = MediaLimits(
        frames=media.max_frames,
        duration_s=media.max_duration,
        frame_pixels=media.max_frame_pixels,
        picture_pixels=media.max_picture_pixels,
    )
    process = ProcessLimits(
        memory_nbytes=int(media.reader_gigabytes * _GIGABYTE), wall_s=media.reader_seconds
    )
    return MediaOptions(limits, process)
