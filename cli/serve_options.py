"""Settings of `wan-trt serve` as the options of what it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wan_trt.cli.serve_settings import ModelSettings, ServeSettings

if TYPE_CHECKING:
    from wan_trt.engine.dispatch import SchedulingOptions
    from wan_trt.preprocess.networks.folder import NetworkFolder
    from wan_trt.server.jobs import JobOptions
    from wan_trt.server.server import ServerOptions

_GIGABYTE = 10**9


def server_options(settings: ServeSettings) -> ServerOptions:
    from wan_trt.server.server import ServerOptions

    durable = settings.storage.data is not None
    return ServerOptions(
        settings.listening.listen,
        durable=durable,
        jobs=_job_options(settings),
        # A temporary folder may be small, and nothing in it has to be told to a later server.
        reserve_nbytes=int(settings.storage.reserve_gigabytes * _GIGABYTE) if durable else 0,
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
        networks=networks(settings.model),
        checkpoint_steps=storage.checkpoint_steps,
        attempts=storage.attempts,
        retention=retention,
    )
