"""Serve a bundle over gRPC.

Jobs take turns, a denoising step at a time (docs/scheduling.md). When it is ready it prints one
line, `listening on HOST:PORT`.
On SIGTERM or SIGINT (Ctrl-C) it takes no more jobs, lets those that are there end within the grace
time and exits with 0; a second signal ends the grace time.

With --data, jobs survive: those that are left at the end, or when the process is killed, go on when
a server is started with the same folder and bundle (docs/jobs.md). Without it they are cancelled.

Beyond this machine it listens only with TLS (--tls-cert, --tls-key) and knowing who calls (--access
or --tls-client-ca); see docs/security.md.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeAlias

from wan_trt.cli.device_options import add_device_arguments, open_engine
from wan_trt.cli.extras import needs_extra
from wan_trt.cli.security_options import add_security_arguments, security_options
from wan_trt.engine.errors import InputError
from wan_trt.server.address import DEFAULT_ADDRESS, Address

if TYPE_CHECKING:
    from wan_trt.server.jobs import JobOptions
    from wan_trt.server.server import Server

SUMMARY = "serve a bundle over gRPC; needs the extra `server`"
EXAMPLES = (
    "wan-trt serve animate_bundle",
    """\
wan-trt serve animate_bundle --listen 0.0.0.0:50051 --data /srv/wan-trt --grace 600 \\
    --tls-cert server.pem --tls-key server.key --access access.toml""",
)

GIGABYTE = 10**9

POLICIES = ("deadline", "shortest", "fair", "fifo")

# Its `put` may be called from a signal handler, whatever the interrupted code is doing.
Signals: TypeAlias = "SimpleQueue[int]"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "bundle", metavar="BUNDLE", type=Path, help="the folder that `wan-trt export` made"
    )
    parser.add_argument(
        "--listen",
        metavar="HOST:PORT",
        default=DEFAULT_ADDRESS,
        help="where to take connections; port 0 is any free one (default: %(default)s)",
    )
    parser.add_argument(
        "--data",
        metavar="DIR",
        type=Path,
        help="keep uploads, jobs and results there, for this server and those after it "
        "(default: a temporary folder, removed at the end)",
    )
    parser.add_argument(
        "--checkpoint-steps",
        metavar="N",
        type=int,
        default=4,
        help="keep the state of a job each N denoising steps, with 0 only where a segment ends "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--attempts",
        metavar="N",
        type=int,
        default=3,
        help="end a job when the server died N times in a row at work on it, without keeping its "
        "state in between (default: %(default)s)",
    )
    parser.add_argument(
        "--keep-days",
        metavar="DAYS",
        type=float,
        default=7.0,
        help="how long results that were fetched, jobs without one, and uploads are kept; a result "
        "that nobody has fetched stays (default: %(default)g)",
    )
    parser.add_argument(
        "--keep-gigabytes",
        metavar="N",
        type=float,
        help="remove results that were fetched earlier, the oldest first, where all of them have "
        "more bytes (default: no limit)",
    )
    parser.add_argument(
        "--reserve-gigabytes",
        metavar="N",
        type=float,
        default=1.0,
        help="jobs pause when less than this is free on the disk of --data (default: %(default)g)",
    )
    parser.add_argument(
        "--grace",
        metavar="SECONDS",
        type=float,
        default=10.0,
        help="how long jobs may go on after a signal to stop (default: %(default)g)",
    )
    parser.add_argument(
        "--policy",
        choices=POLICIES,
        default=POLICIES[0],
        help="whose step is next: deadline (who can be on time, the earliest first), shortest (the "
        "least work left), fair (turns by owner) or fifo (first come, first served); with all but "
        "the last a job takes at most 3 times as long as with it (default: %(default)s)",
    )
    parser.add_argument(
        "--admit-late",
        action="store_true",
        help="take jobs also where their --timeout cannot be kept as things stand, and end them "
        "when it is over (default: refuse them at once, and say when they could be done)",
    )
    add_device_arguments(parser)
    add_security_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    with ExitStack() as stack:
        signals = stack.enter_context(_caught_signals())
        with needs_extra("server"):
            from wan_trt.server.server import Server, ServerOptions
        from wan_trt.engine import Bundle
        from wan_trt.engine.dispatch import SchedulingOptions
        from wan_trt.engine.scheduling.preference import Policy

        options = ServerOptions(
            Address.parse(arguments.listen, "listen"),
            durable=arguments.data is not None,
            jobs=_job_options(arguments),
            reserve_nbytes=_reserve_nbytes(arguments),
            security=security_options(arguments),
        )
        scheduling = SchedulingOptions(Policy(arguments.policy), not arguments.admit_late)
        engine = open_engine(Bundle.open(arguments.bundle), arguments, scheduling)
        stack.callback(engine.close)
        folder = arguments.data or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="wan-trt-"))
        )
        server = stack.enter_context(Server(engine, folder, options))
        if options.security.insecure and not options.listen.loopback:
            _say("insecure: whoever reaches this port may read and do everything")
        print(f"listening on {server.address}", flush=True)
        _wait(signals)
        _say("stopping: no more jobs are taken")
        _drain(server, arguments.grace, options.durable, signals)
    return 0


def _job_options(arguments: argparse.Namespace) -> JobOptions:
    """Raises InputError for numbers that make no sense."""
    from wan_trt.server.jobs import JobOptions
    from wan_trt.server.retention import DAY_S, Retention

    if arguments.checkpoint_steps < 0:
        raise InputError(
            f"{arguments.checkpoint_steps}", expected="0 or more", field="checkpoint_steps"
        )
    if arguments.attempts < 1:
        raise InputError(f"{arguments.attempts}", expected="1 or more", field="attempts")
    most = None
    if arguments.keep_gigabytes is not None:
        most = int(_positive(arguments, "keep_gigabytes") * GIGABYTE)
    retention = Retention(age_s=_positive(arguments, "keep_days") * DAY_S, max_nbytes=most)
    return JobOptions(
        checkpoint_steps=arguments.checkpoint_steps,
        attempts=arguments.attempts,
        retention=retention,
    )


def _reserve_nbytes(arguments: argparse.Namespace) -> int:
    """A temporary folder may be small, and nothing in it has to be told to a later server."""
    nbytes = int(_positive(arguments, "reserve_gigabytes") * GIGABYTE)
    return nbytes if arguments.data is not None else 0


def _positive(arguments: argparse.Namespace, name: str) -> float:
    value: float = getattr(arguments, name)
    if not 0 <= value < float("inf"):
        raise InputError(f"{value:g}", expected="0 or more", field=name)
    return value


@contextmanager
def _caught_signals() -> Iterator[Signals]:
    """Signals go into a queue from now on; when to stop is then our own decision."""
    signals: Signals = SimpleQueue()
    before = {
        number: signal.signal(number, lambda number, _frame: signals.put(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(signals: Signals) -> None:
    """Until a signal came. A wait without end would not: the interpreter may then be asleep in a
    lock when two signals arrive together, and run neither's handler."""
    while signals.empty():
        time.sleep(0.2)


def _drain(server: Server, grace_s: float, durable: bool, signals: Signals) -> None:
    """Wait until the jobs are over, the time is, or another signal comes."""
    server.drain()
    deadline = time.monotonic() + grace_s
    while server.busy and time.monotonic() < deadline and signals.empty():
        time.sleep(0.05)
    if server.busy:
        left = "go on when a server is started again" if durable else "are cancelled"
        _say(f"the jobs that are left {left}")


def _say(text: str) -> None:
    print(f"wan-trt: {text}", file=sys.stderr, flush=True)
