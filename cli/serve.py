"""Serve a bundle over gRPC.

Jobs take turns, a denoising step at a time (docs/scheduling.md). When it is ready it prints one
line, `listening on HOST:PORT`.
On SIGTERM or SIGINT (Ctrl-C) it takes no more jobs, lets those that are there end within the grace
time and exits with 0; a second signal ends the grace time.

With --data, jobs survive: those that are left at the end, or when the process is killed, go on when
a server is started with the same folder and bundle (docs/jobs.md). Without it they are cancelled.

Beyond this machine it listens only with TLS (--tls-cert, --tls-key) and knowing who calls (--access
or --tls-client-ca); see docs/security.md.

Each setting may be given as a flag (--keep-days 3), as a variable (WAN_TRT_SERVE_KEEP_DAYS=3) or in
the TOML file of --config (keep_days = 3); the first of these that is there counts
(docs/operations.md).
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from wan_trt.cli.device_options import open_engine
from wan_trt.cli.extras import needs_extra
from wan_trt.cli.serve_settings import VARIABLES, ServeSettings
from wan_trt.cli.service_manager import Heartbeat, tell
from wan_trt.cli.settings.flags import add_settings, given_flags
from wan_trt.cli.settings.sources import Configuration, load
from wan_trt.cli.signals import Signals, caught_signals, wait_for

if TYPE_CHECKING:
    from wan_trt.server.server import Server

_log = logging.getLogger(__name__)

SUMMARY = "serve a bundle over gRPC; needs the extra `server`"
EXAMPLES = (
    "wan-trt serve animate_bundle",
    """\
wan-trt serve animate_bundle --listen 0.0.0.0:50051 --data /srv/wan-trt --grace 600 \\
    --tls-cert server.pem --tls-key server.key --access access.toml""",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings(parser, ServeSettings)
    configuration = parser.add_argument_group("Where settings come from")
    configuration.add_argument(
        "--config",
        metavar="FILE",
        help=f"a TOML file of settings, named as the flags are (default: {VARIABLES}CONFIG)",
    )
    configuration.add_argument(
        "--check-config",
        action="store_true",
        help="do not serve: check all settings and what they name, and print them and their origin",
    )


def run(arguments: argparse.Namespace) -> int:
    with ExitStack() as stack:
        signals = stack.enter_context(caught_signals())
        configuration = _configuration(arguments)
        with needs_extra("server"):
            from wan_trt.server.server import Server
        if arguments.check_config:
            return _check(configuration, arguments)
        from wan_trt.cli.serve_options import scheduling_options, server_options
        from wan_trt.engine import Bundle
        from wan_trt.server.telemetry.logs import logging_to
        from wan_trt.server.telemetry.metrics import tool_version

        settings = configuration.settings
        watching = settings.watching
        stack.enter_context(logging_to(sys.stderr, watching.log_format, watching.log_level))
        options, model = server_options(settings), settings.model
        bundle = Bundle.open(model.bundle)
        engine = open_engine(bundle, model.device, model.threads, scheduling_options(settings))
        stack.callback(engine.close)
        folder = settings.storage.data or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="wan-trt-"))
        )
        server = stack.enter_context(Server(engine, folder, options))
        _log.info(
            "wan-trt %s serves %s (%s) on %s",
            *(tool_version(), bundle.path, bundle.digest[:12], model.device),
        )
        if missing := options.security.missing(options.listen):
            _log.warning(
                "insecure: whoever reaches this port does so without %s", " and ".join(missing)
            )
        if (port := server.telemetry.status_port) is not None:
            _log.info("metrics on http://%s/metrics", port.address)
        print(f"listening on {server.address}", flush=True)
        heartbeat = Heartbeat()
        tell("READY=1")
        wait_for(signals, lambda: heartbeat.beat(server.alive))
        _log.info("stopping: no more jobs are taken")
        tell("STOPPING=1")
        _drain(server, settings.listening.grace, options.durable, signals, heartbeat)
    return 0


def _configuration(arguments: argparse.Namespace) -> Configuration[ServeSettings]:
    """Raises InputError."""
    file = arguments.config or os.environ.get(f"{VARIABLES}CONFIG")
    return load(
        ServeSettings,
        given_flags(arguments, ServeSettings),
        os.environ,
        VARIABLES,
        Path(file) if file else None,
    )


def _check(configuration: Configuration[ServeSettings], arguments: argparse.Namespace) -> int:
    """Tell all settings and all problems; the exit code of the first one."""
    from wan_trt.cli.check_config import problems

    print(configuration.describe(), end="", flush=True)
    found = problems(configuration.settings)
    for error in found:
        told = error.message(arguments.parser.spelled(error.field))
        print(f"wan-trt: error: {told}", file=sys.stderr)
    return found[0].exit_code if found else 0


def _drain(
    server: Server, grace_s: float, durable: bool, signals: Signals, heartbeat: Heartbeat
) -> None:
    """Wait until the jobs are over, the time is, or another signal comes."""
    server.drain()
    deadline = time.monotonic() + grace_s
    while server.busy and time.monotonic() < deadline and signals.empty():
        heartbeat.beat(server.alive)
        time.sleep(0.05)
    if server.busy:
        left = "go on when a server is started again" if durable else "are cancelled"
        _log.warning("the jobs that are left %s", left)
