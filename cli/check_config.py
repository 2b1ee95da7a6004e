"""What `wan-trt serve --check-config` looks at before a server is started for real.

Nothing is changed and no graph is loaded. What one check finds does not keep the others from
looking: an operator wants to know all of it at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from wan_trt.cli.device_options import open_engine
from wan_trt.cli.extras import needs_extra
from wan_trt.cli.serve_options import bundle_roots, networks, scheduling_options, security_options
from wan_trt.cli.serve_settings import ServeSettings
from wan_trt.engine.errors import InputError, WanTrtError

Check = Callable[[ServeSettings], None]


def problems(settings: ServeSettings) -> list[WanTrtError]:
    """What would keep a server of these settings from starting."""
    found: list[WanTrtError] = []
    for check in CHECKS:
        try:
            check(settings)
        except WanTrtError as error:
            found.append(error)
    return found


def _bundle_opens(settings: ServeSettings) -> None:
    """Its manifest, its files' sizes, and the device; `wan-trt inspect --verify` reads the rest."""
    from wan_trt.engine import Bundle

    model = settings.model
    bundle = Bundle.open(model.bundle)
    open_engine(bundle, model.device, model.threads, scheduling_options(settings)).close()


def _bundles_can_be_added(settings: ServeSettings) -> None:
    from wan_trt.server.bundles.loading import BundleRoots

    BundleRoots(bundle_roots(settings.model))


def _networks_are_there(settings: ServeSettings) -> None:
    found = networks(settings.model)
    if found is not None:
        found.require_people()


def _port_is_free(settings: ServeSettings) -> None:
    from wan_trt.server.free_port import require_free

    require_free(settings.listening.listen, "listen")


def _port_of_metrics_is_free(settings: ServeSettings) -> None:
    from wan_trt.server.free_port import require_free

    if settings.watching.metrics_listen is not None:
        require_free(settings.watching.metrics_listen, "metrics_listen")


def _traces_can_be_sent(settings: ServeSettings) -> None:
    """That the extra is installed and the URL is one; nobody is asked to answer there."""
    from wan_trt.server.telemetry.tracing import open_tracing

    with needs_extra("telemetry"):
        open_tracing(settings.watching.traces).close()


def _port_is_safe(settings: ServeSettings) -> None:
    """Certificates and principals can be used, and the address is none that needs them."""
    from wan_trt.server.input_roots import InputRoots
    from wan_trt.server.tls import ServerTls

    options = security_options(settings.security)
    if options.tls is not None:
        ServerTls(options.tls)
    options.open_access()
    InputRoots(options.input_roots)
    options.require_safe(settings.listening.listen)


def _data_can_be_written(settings: ServeSettings) -> None:
    """The folder, or where it would be made; and that no server has it."""
    from wan_trt.server.store.database import require_ours
    from wan_trt.server.store.lock import FolderLock

    data = settings.storage.data
    if data is None:
        return
    there = next(path for path in (data.absolute(), *data.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise InputError(
            f"{there} cannot be written", expected="a folder that can be written", field="data"
        )
    lock = data / "lock"
    if lock.exists():
        FolderLock(lock).close()
    if (store := data.absolute() / "jobs.sqlite3").exists():
        require_ours(store)


CHECKS: tuple[Check, ...] = (
    _bundle_opens,
    _bundles_can_be_added,
    _networks_are_there,
    _port_is_free,
    _port_is_safe,
    _port_of_metrics_is_free,
    _data_can_be_written,
    _traces_can_be_sent,
)
