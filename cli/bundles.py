"""Tell what a server makes videos with. The first one is what a submission gets that names none."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from wan_trt.cli.job_news import print_json
from wan_trt.cli.server_options import add_server_argument, connected
from wan_trt.cli.table import table_lines

if TYPE_CHECKING:
    from wan_trt.server.client import BundleInfo

SUMMARY = "tell what a server makes videos with"
EXAMPLES = ("wan-trt bundles", "wan-trt bundles --server 10.0.0.5:50051 --json")

_HEAD = ("BUNDLE", "STATE", "MODEL", "PRECISION", "DEFAULTS", "LORAS", "DIGEST")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_server_argument(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")


def run(arguments: argparse.Namespace) -> int:
    with connected(arguments) as client:
        bundles = client.bundles()
    if arguments.json:
        for bundle in bundles:
            print_json(asdict(bundle))
    else:
        for line in table_lines(_HEAD, [_row(bundle) for bundle in bundles]):
            print(line)
    return 0


def _row(bundle: BundleInfo) -> tuple[str, ...]:
    sampling = bundle.sampling
    loras = [
        f"{lora.name} x{lora.strength:g}" + (f" ({lora.expert.value})" if lora.expert else "")
        for lora in bundle.loras
    ]
    return (
        bundle.name,
        bundle.state,
        bundle.model,
        bundle.precision,
        f"{sampling.steps} steps, {sampling.solver.value}",
        ", ".join(loras) or "-",
        bundle.digest[:12],
    )
