"""List, add, drain and remove the bundles of a running server (docs/operations.md).

`list`, which is also what it does without an action, is for everybody who may call; a submission
that names no bundle gets the first that serves. The others are for admins, on a server that was
started with --bundle-root: `add` has a folder of the server's machine loaded, and waits until it
serves; a bundle that drains serves again. `drain` lets a bundle take no more jobs. `remove` drains
it, waits until its jobs are over, and has its memory given back. Who stops waiting (Ctrl-C) changes
nothing: the server goes on with what it was told.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from wan_trt.cli.job_news import print_json
from wan_trt.cli.server_options import add_server_argument, connected
from wan_trt.cli.table import table_lines
from wan_trt.engine.errors import InputError

if TYPE_CHECKING:
    from wan_trt.server.client import BundleInfo, Client

SUMMARY = "list, add, drain and remove the bundles of a server"
EXAMPLES = (
    "wan-trt bundles --server 10.0.0.5:50051",
    "wan-trt bundles add /srv/bundles/animate_v2 --name v2",
)
_LOOK_S = 0.5
_HEAD = ("BUNDLE", "STATE", "JOBS", "MODEL", "PRECISION", "DEFAULTS", "LORAS", "DIGEST")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        choices=tuple(_ACTIONS),
        nargs="?",
        default="list",
        help="what to do (default: %(default)s)",
    )
    parser.add_argument(
        "bundle",
        metavar="BUNDLE",
        nargs="?",
        help="add: the whole path of its folder on the server's machine; drain, remove: its name",
    )
    parser.add_argument(
        "--name", metavar="NAME", help="add: what to call it (default: as its folder)"
    )
    parser.add_argument(
        "--cancel-jobs", action="store_true", help="remove: cancel its jobs, do not wait for them"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    add_server_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    if (arguments.bundle is None) != (arguments.action == "list"):
        raise InputError(
            f"{arguments.action} with{'out' if arguments.bundle is None else ''} a bundle",
            expected="none for list, one for all others",
            field="bundle",
        )
    for option, of in (("name", "add"), ("cancel_jobs", "remove")):
        if getattr(arguments, option) and arguments.action != of:
            raise InputError(f"given with {arguments.action}", expected=of, field=option)
    with connected(arguments) as client:
        _ACTIONS[arguments.action](client, arguments)
    return 0


def _list(client: Client, arguments: argparse.Namespace) -> None:
    _show(client.bundles(), arguments)


def _show(bundles: Sequence[BundleInfo], arguments: argparse.Namespace) -> None:
    if arguments.json:
        for bundle in bundles:
            error = None if bundle.error is None else str(bundle.error)
            print_json({**asdict(bundle), "error": error})
    else:
        for line in table_lines(_HEAD, [_row(bundle) for bundle in bundles]):
            print(line)
        for bundle in bundles:
            if bundle.error is not None:
                print(f"{bundle.name}: {bundle.error}")


def _add(client: Client, arguments: argparse.Namespace) -> None:
    """Raises the error for which a bundle is broken."""
    status = client.add_bundle(arguments.bundle, arguments.name or "")
    while status.state == "loading":
        time.sleep(_LOOK_S)
        status = _found(client, status.name)
    if status.error is not None:
        raise status.error
    _show([status], arguments)


def _drain(client: Client, arguments: argparse.Namespace) -> None:
    _show([client.drain_bundle(arguments.bundle)], arguments)


def _remove(client: Client, arguments: argparse.Namespace) -> None:
    name = arguments.bundle
    if arguments.cancel_jobs:
        client.remove_bundle(name, cancel_jobs=True)
        while any(status.name == name for status in client.bundles()):
            time.sleep(_LOOK_S)
    else:
        status = _found(client, name)
        if status.state != "broken":
            told = 0
            status = client.drain_bundle(name)
            while jobs := status.unfinished_jobs:
                if jobs != told:
                    print(f"{name}: {jobs} job{'s' * (jobs > 1)} to go", file=sys.stderr)
                    told = jobs
                time.sleep(_LOOK_S)
                status = _found(client, name)
        client.remove_bundle(name)
    print(f"{name}  gone")


def _found(client: Client, name: str) -> BundleInfo:
    """Raises InputError where it is not there, or not any more."""
    for status in client.bundles():
        if status.name == name:
            return status
    raise InputError(f"no bundle {name}", expected="one that `list` shows", field="bundle")


def _row(bundle: BundleInfo) -> tuple[str, ...]:
    sampling = bundle.sampling
    loras = [
        f"{lora.name} x{lora.strength:g}" + (f" ({lora.expert.value})" if lora.expert else "")
        for lora in bundle.loras
    ]
    known = sampling.steps > 0  # not while it loads, nor where it is broken
    return (
        bundle.name,
        bundle.state,
        f"{bundle.unfinished_jobs}",
        bundle.model if known else "",
        bundle.precision,
        f"{sampling.steps} steps, {sampling.solver.value}" if known else "",
        ", ".join(loras) or "-",
        bundle.digest[:12],
    )


_ACTIONS: dict[str, Callable[[Client, argparse.Namespace], None]] = {
    "list": _list,
    "add": _add,
    "drain": _drain,
    "remove": _remove,
}
