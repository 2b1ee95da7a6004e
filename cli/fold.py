"""Fold LoRAs into a safetensors file: one DiT, or one expert of it.

BASE has original Wan names (blocks.0.self_attn.q.weight), also behind ComfyUI's prefix
(model.diffusion_model.), or those of diffusers (blocks.0.attn1.to_q.weight). OUT has the same, and
whatever else lies in the file. fp8 weights cannot be folded into.

With --expert high or low BASE is that expert: --lora and the LoRAs of that expert are folded, and
of a file for both experts (transformer. and transformer_2.) its half. Changes are added in float32;
tensors that change are written as --dtype, all others are copied byte for byte. OUT appears only
when it is complete. SPEC is PATH[,strength=S][,alpha=A][,config=adapter_config.json].
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from wan_trt.cli.byte_progress import ByteProgress
from wan_trt.cli.extras import needs_extra
from wan_trt.cli.lora_options import add_lora_options, lora_stacks
from wan_trt.engine.errors import InputError
from wan_trt.engine.request import ExpertName

if TYPE_CHECKING:
    from wan_trt.export.lora.spec import LoraStacks

SUMMARY = "safetensors + LoRAs -> safetensors; needs the extra `export`"
EXAMPLES = (
    """\
wan-trt fold wan2.2_high.safetensors --expert high --lora high.safetensors,strength=0.8 \\
    --out folded.safetensors --dtype bf16 --report folded.json""",
)

_REPORT = "--report"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "base", metavar="BASE", type=Path, help="a .safetensors file with a DiT in it"
    )
    parser.add_argument("--out", metavar="OUT", type=Path, required=True, help="file to write")
    parser.add_argument(
        "--expert",
        choices=["single", *(name.value for name in ExpertName)],
        default="single",
        help="which expert BASE is, of a model that has two (default: %(default)s)",
    )
    add_lora_options(parser)
    parser.add_argument(
        "--dtype",
        choices=["fp32", "bf16"],
        default="fp32",
        help="of the tensors that change (default: %(default)s)",
    )
    parser.add_argument(
        _REPORT, metavar="FILE", type=Path, help="also write the report of each key as JSON"
    )


def run(arguments: argparse.Namespace) -> int:
    with needs_extra("export"):
        from wan_trt.export.lora.fold_file import FoldOptions, fold_file
        from wan_trt.export.lora.report import text
        from wan_trt.media.partial_output import write_text

    expert = None if arguments.expert == "single" else ExpertName(arguments.expert)
    stacks = lora_stacks(arguments)
    if arguments.report is not None:
        _require_report(arguments, stacks)
    report = fold_file(
        arguments.base,
        arguments.out,
        stacks,
        FoldOptions(expert, arguments.dtype, arguments.allow_unmatched),
        on_progress=ByteProgress(sys.stderr).show,
    )
    for entry in report["files"]:
        print(text(entry), file=sys.stderr)
    if arguments.report is not None:
        write_text(arguments.report, json.dumps(report, indent=1) + "\n", _REPORT)
    print(arguments.out)
    return 0


def _require_report(arguments: argparse.Namespace, stacks: LoraStacks) -> None:
    """Before the work: its report must find a place of its own."""
    from wan_trt.export.lora.fold_file import require_output

    report, out = arguments.report, arguments.out
    if report.resolve() == out.resolve():
        raise InputError(
            f"{report} is --out",
            expected="a file of its own",
            action="choose another name",
            field=_REPORT,
        )
    require_output(report, arguments.base, stacks, _REPORT)
