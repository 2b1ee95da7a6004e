"""Turn a Wan2.2 checkpoint into a bundle that `generate` and `serve` run.

CHECKPOINT is a folder as the official repositories, diffusers or ComfyUI have it, or holds their
single files; the files tell which model it is and in which layout. LoRAs are folded in float32:
--lora into both experts, --lora-high only into the one that runs at high noise (timesteps from
1000 * boundary up), --lora-low only into the other. A LoRA key that fits no module is an error.
SPEC is PATH[,strength=S][,alpha=A][,config=adapter_config.json].

Memory holds a few tensors at a time, whatever the model's size. BUNDLE appears only when it is
complete, and at FP8 only when it has passed the gate. Where it is there already, made from the same
checkpoint, it is replaced in the end, and only what changes is made again: another LoRA or strength
costs the tensors that it touches.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from wan_trt.cli.export_progress import ExportProgress
from wan_trt.cli.extras import needs_extra
from wan_trt.cli.gate_options import add_gate_options, gate_options
from wan_trt.cli.lora_options import (
    add_boundary_option,
    add_lora_options,
    lora_stacks,
)
from wan_trt.cli.progress import ProgressLine
from wan_trt.cli.verdict_text import verdict_lines

if TYPE_CHECKING:
    from wan_trt.calibration.gate.verdict import Verdict
    from wan_trt.engine.bundle import Bundle

SUMMARY = "checkpoint (+ LoRAs) -> bundle; needs the extra `export`"

EXAMPLES = (
    """\
wan-trt export Wan2.2-Animate-14B --out animate --precision fp8 --scales animate.scales \\
    --lora relight.safetensors --gate-inputs samples --gate-report animate.html""",
    """\
wan-trt export Wan2.2-I2V-A14B --out rotate --precision bf16 \\
    --lora-high circle_high.safetensors,strength=0.8 \\
    --lora-low circle_low.safetensors,strength=0.8""",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", type=Path, help="a folder with the model's files"
    )
    parser.add_argument(
        "--out",
        metavar="BUNDLE",
        type=Path,
        required=True,
        help="folder to make, or a bundle of this checkpoint to bring up to date",
    )
    add_lora_options(parser)
    add_boundary_option(parser)
    parser.add_argument(
        "--precision",
        choices=["fp32", "bf16", "fp8"],
        default="fp32",
        help="of stored matrices; all else is float32, and so is the arithmetic on a CPU; at fp8 "
        "the matrices that the policy leaves out are bf16 (default: %(default)s)",
    )
    parser.add_argument(
        "--scales",
        metavar="FILE",
        type=Path,
        help="what `calibrate` measured with this checkpoint, these LoRAs and this policy; "
        "--precision fp8 needs it",
    )
    parser.add_argument(
        "--policy",
        metavar="NAME_OR_FILE",
        help="what is FP8: wide, modelopt, narrow, or a TOML file of linears and attentions "
        "(default: wide)",
    )
    parser.add_argument(
        "--reuse",
        metavar="BUNDLE",
        type=Path,
        action="append",
        default=[],
        help="take tensors that would be the same from this bundle too, by hard links where the "
        "file system has them (repeatable)",
    )
    add_gate_options(parser)


def run(arguments: argparse.Namespace) -> int:
    with needs_extra("export"):
        from wan_trt.calibration.gated_export import export_gated
        from wan_trt.export.bundle_writer import export_bundle
        from wan_trt.export.options import ExportOptions
        from wan_trt.export.precision import Precision
        from wan_trt.export.quantize.policy import Policy

    gate = gate_options(arguments)
    options = ExportOptions(
        loras=lora_stacks(arguments),
        boundary=arguments.boundary,
        allow_unmatched=arguments.allow_unmatched,
        precision=Precision(arguments.precision),
        reuse=tuple(arguments.reuse),
        scales=arguments.scales,
        policy=None if arguments.policy is None else Policy.read(arguments.policy),
    )
    export = arguments.checkpoint, arguments.out, options
    progress = ExportProgress(sys.stderr)
    if gate is None:
        export_bundle(*export, progress)
    else:
        show = ProgressLine(sys.stderr).show
        export_gated(*export, gate, progress, show, partial(_tell, arguments))
    print(arguments.out)
    return 0


def _tell(arguments: argparse.Namespace, verdict: Verdict, staged: Bundle) -> None:
    """What the gate found, whether the bundle is kept or not."""
    from wan_trt.calibration.report.page import write_report

    if arguments.report is not None:
        write_report(verdict, staged, arguments.out.name, arguments.report)
    for line in verdict_lines(verdict):
        print(line, file=sys.stderr)
