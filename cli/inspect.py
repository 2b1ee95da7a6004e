"""Show what a bundle holds: model, sizes, what it was made from, graphs, weights, LoRAs.

--tensors also says how each stored tensor was made: its sources in the checkpoint, the LoRA keys
that were folded in with their scales, and the ratio of the norms of change and weight. --verify
hashes every file again and compares with the manifest.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from wan_trt.cli.bundle_text import summary, tensors
from wan_trt.cli.byte_progress import ByteProgress
from wan_trt.engine.bundle import Bundle

SUMMARY = "show what a bundle holds and how it was made"

EXAMPLES = (
    "wan-trt inspect animate --verify",
    "wan-trt inspect animate --tensors 'denoiser/blocks.0.*'",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "bundle", metavar="BUNDLE", type=Path, help="folder that `wan-trt export` wrote"
    )
    parser.add_argument("--json", action="store_true", help="the manifest as JSON, nothing else")
    parser.add_argument(
        "--tensors",
        metavar="PATTERN",
        nargs="?",
        const="*",
        help="also how each tensor was made whose GRAPH/PARAMETER matches a shell pattern "
        "(without one: all)",
    )
    parser.add_argument("--verify", action="store_true", help="hash every file")


def run(arguments: argparse.Namespace) -> int:
    bundle = Bundle.open(arguments.bundle)
    if arguments.verify:
        bundle.verify(ByteProgress(sys.stderr).show)
    if arguments.json:
        print(bundle.manifest.to_json(), end="")
        return 0
    for line in summary(bundle):
        print(line)
    if arguments.tensors is not None:
        for line in tensors(bundle.manifest, arguments.tensors):
            print(line)
    if arguments.verify:
        print(f"verified   {len(bundle.manifest.files)} files match their hashes")
    return 0
