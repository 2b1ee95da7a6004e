"""The options that name LoRAs; shared by the commands that fold them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wan_trt.export.lora.spec import LoraStacks

_TARGETS = {
    "--lora": "every expert",
    "--lora-high": "the high-noise expert",
    "--lora-low": "the low-noise expert",
}


def add_lora_options(parser: argparse.ArgumentParser) -> None:
    """--lora, --lora-high, --lora-low and --allow-unmatched."""
    for option, target in _TARGETS.items():
        parser.add_argument(
            option,
            metavar="SPEC",
            action="append",
            default=[],
            help=f"fold a LoRA into {target}; may be given several times",
        )
    parser.add_argument(
        "--allow-unmatched",
        action="store_true",
        help="skip LoRA modules that do not fit instead of failing; recorded in the report",
    )


def add_boundary_option(parser: argparse.ArgumentParser) -> None:
    """--boundary, which says which expert is which."""
    parser.add_argument(
        "--boundary",
        metavar="SHARE",
        type=float,
        help="where the experts change, as a share of 1000 timesteps "
        "(default: what the checkpoint says, or 0.9)",
    )


def lora_stacks(arguments: argparse.Namespace) -> LoraStacks:
    """The LoRAs that the options name. Raises LoraError for a SPEC that cannot be read."""
    from wan_trt.export.lora.spec import LoraSpec, LoraStacks

    return LoraStacks(
        both=tuple(LoraSpec.parse(text) for text in arguments.lora),
        high=tuple(LoraSpec.parse(text) for text in arguments.lora_high),
        low=tuple(LoraSpec.parse(text) for text in arguments.lora_low),
    )
