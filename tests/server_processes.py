"""`wan-trt serve` in processes of their own, which are killed."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

TIMEOUT_S = 120
# A new process has these already, so it serves within some 0.1 s.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["wan_trt.server.server", "wan_trt.engine.engine"])


def serve(
    stdout: Connection, errors: str, arguments: list[str], change: Callable[[], None] | None
) -> None:
    """`wan-trt serve`, whose output goes into a pipe."""
    os.dup2(stdout.fileno(), 1)
    with Path(errors).open("a") as file:
        os.dup2(file.fileno(), 2)
    sys.stdout = os.fdopen(1, "w")
    if change is not None:
        change()
    from wan_trt.cli.main import main

    sys.exit(main(["serve", *arguments]))


@contextmanager
def server_process(
    bundle: Path, data: Path, *options: str, change: Callable[[], None] | None = None
) -> Iterator[tuple[ForkServerProcess, Connection]]:
    """A server that is killed at the end of the block, and the pipe with its output. `change` is
    called in its process before it starts."""
    ours, theirs = CONTEXT.Pipe(duplex=False)
    arguments = [
        *(str(bundle), "--listen", "127.0.0.1:0", "--threads", "1", "--data", str(data)),
        *("--checkpoint-steps", "1", "--reserve-gigabytes", "0", *options),
    ]
    errors = data.with_suffix(".errors")
    process = CONTEXT.Process(target=serve, args=(theirs, str(errors), arguments, change))
    process.start()
    theirs.close()
    try:
        yield process, ours
    finally:
        process.kill()
        process.join()
        ours.close()


class DiedAtTheStartError(AssertionError):
    """The server has ended before it listened."""


def address_of(stdout: Connection) -> str:
    """Wait until the server listens. Raises DiedAtTheStartError."""
    assert stdout.poll(TIMEOUT_S), "the server did not start"
    text = os.read(stdout.fileno(), 1000).decode()
    if not text:
        raise DiedAtTheStartError
    assert text.startswith("listening on "), text
    return text.split()[-1]
