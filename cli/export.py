"""Turn a Wan2.2 checkpoint into a bundle that `generate` and `serve` run.

CHECKPOINT is the folder of an official repository, and its files tell which model it is. Both have
Wan2.1_VAE.pth, models_t5_*.pth and google/umt5-xxl; Animate-14B has config.json,
diffusion_pytorch_model*.safetensors and models_clip_*.pth beside them, I2V-A14B its two experts in
high_noise_model/ and low_noise_model/. LoRAs are folded in float32:
--lora into both experts, --lora-high only into the one that runs at high noise (timesteps from
1000 * boundary up), --lora-low only into the other. A LoRA key that fits no module is an error.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from wan_trt.cli.lora_options import add_lora_options, lora_stacks, without_export

SUMMARY = "checkpoint (+ LoRAs) -> bundle; needs the extra `export`"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=Path)
    parser.add_argument("--out", metavar="BUNDLE", type=Path, required=True, help="folder to make")
    add_lora_options(parser)
    parser.add_argument(
        "--boundary",
        type=float,
        help="where the experts change, as a share of 1000 timesteps "
        "(default: what the checkpoint says, or 0.9)",
    )
    parser.add_argument(
        "--precision",
        choices=["fp32"],
        default="fp32",
        help="of weights and arithmetic (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    try:
        from wan_trt.export.bundle_writer import ExportOptions, export_bundle
    except ModuleNotFoundError as error:
        raise without_export(error) from None

    stacks = lora_stacks(arguments)
    export_bundle(
        arguments.checkpoint,
        arguments.out,
        ExportOptions(stacks, arguments.boundary, arguments.allow_unmatched),
        on_progress=lambda message: print(message, file=sys.stderr, flush=True),
    )
    print(arguments.out)
    return 0
