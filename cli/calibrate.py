"""Measure what an FP8 bundle of a checkpoint needs, or search for what may be FP8.

DIR has a folder for each sample, with files named as the options of `generate`: reference.png,
pose.mp4, face.mp4, and where they are wanted background.mp4, mask.mp4, last_frame.png,
noise.safetensors, prompt.txt, negative_prompt.txt and request.toml (mode, steps, solver, shift,
guidance, seed, segment_frames, overlap, frames, area). src_ref.png, src_pose.mp4, .. as
`wan-trt preprocess --out DIR/NAME` writes them are a sample too. It is at least one segment long.

Whole jobs are run, on a GPU if there is one, so that each expert with its LoRAs sees the timesteps
that it will serve. OUT then belongs to this checkpoint, these LoRAs, this boundary and this policy.

With --search, OUT is a policy instead: the largest part of --policy, by bytes of weights, whose
relative squared error in the velocity stays within --budget for each expert. Attention is not
searched: it stays in high precision. What each linear costs alone, over timesteps, stands in it
too; an FP8 bundle keeps that, and the gate's report shows it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from wan_trt.cli.export_progress import ExportProgress
from wan_trt.cli.extras import needs_extra
from wan_trt.cli.lora_options import add_boundary_option, add_lora_options, lora_stacks
from wan_trt.engine.errors import InputError

if TYPE_CHECKING:
    from wan_trt.export.lora.spec import LoraStacks

SUMMARY = "checkpoint (+ LoRAs) + samples -> ranges for FP8; needs the extra `calibration`"

EXAMPLES = (
    "wan-trt calibrate Wan2.2-Animate-14B --inputs samples --out animate.scales.safetensors",
    """\
wan-trt calibrate Wan2.2-Animate-14B --inputs samples --search --budget 0.001 \\
    --out animate.policy.toml""",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", type=Path, help="a folder with the model's files"
    )
    parser.add_argument(
        "--inputs", metavar="DIR", type=Path, required=True, help="the samples, a folder each"
    )
    parser.add_argument(
        "--out",
        metavar="OUT",
        type=Path,
        required=True,
        help="the file of scales to write, or with --search the policy; beside it a bundle is "
        "made for the time being",
    )
    add_lora_options(parser)
    add_boundary_option(parser)
    parser.add_argument(
        "--policy",
        metavar="NAME|FILE",
        default="wide",
        help="what is measured: a preset or a TOML file of linears and attentions "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--method",
        choices=["max", "percentile", "mse"],
        default="max",
        help="what a range is: the greatest magnitude, one that a share of the values does not "
        "exceed, or the one of the least square error (default: %(default)s)",
    )
    parser.add_argument(
        "--percentile",
        metavar="P",
        type=float,
        help="that share, in percent (default: 99.99)",
    )
    parser.add_argument(
        "--no-fit",
        action="store_true",
        help="leave out what brings FP8 nearer at no cost: column scales by which outputs change "
        "least, and biases that take back what rounding changes on average",
    )
    parser.add_argument(
        "--reuse",
        metavar="BUNDLE",
        type=Path,
        action="append",
        default=[],
        help="take tensors from this bundle that are the same (repeatable)",
    )
    parser.add_argument(
        "--precision",
        choices=["fp32", "bf16"],
        default="fp32",
        help="of the matrices that are run; the arithmetic is float32 (default: %(default)s)",
    )
    search = parser.add_argument_group("search")
    search.add_argument(
        "--search", action="store_true", help="write a policy that fits --budget, not ranges"
    )
    search.add_argument(
        "--budget",
        metavar="X",
        type=float,
        help="most that the velocity may change: sum of squares of the change over that of the "
        "velocity",
    )
    search.add_argument(
        "--calls",
        metavar="N",
        type=int,
        help="calls of each expert to measure on, spread evenly over its steps (default: 8)",
    )


def run(arguments: argparse.Namespace) -> int:
    _check_search(arguments)
    with needs_extra("calibration"):
        from wan_trt.calibration.calibrate import CalibrationOptions, calibrate
        from wan_trt.calibration.ranges import Method, MethodName
        from wan_trt.calibration.search import search_policy
        from wan_trt.export.options import ExportOptions
        from wan_trt.export.precision import Precision
        from wan_trt.export.quantize.policy import Policy
        from wan_trt.export.quantize.policy_text import policy_text
    from wan_trt.cli.progress import ProgressLine
    from wan_trt.media.partial_output import try_place, write_text

    loras = lora_stacks(arguments)
    _require_apart(arguments, loras)
    options = CalibrationOptions(
        export=ExportOptions(
            loras=loras,
            boundary=arguments.boundary,
            allow_unmatched=arguments.allow_unmatched,
            precision=Precision(arguments.precision),
            reuse=tuple(arguments.reuse),
        ),
        policy=Policy.read(arguments.policy),
        method=Method(MethodName(arguments.method), arguments.percentile),
        fit=not arguments.no_fit,
    )
    try_place(arguments.out)
    places = arguments.checkpoint, arguments.inputs, arguments.out.absolute().parent
    progress = ExportProgress(sys.stderr), ProgressLine(sys.stderr).show
    if arguments.search:
        calls = 8 if arguments.calls is None else arguments.calls
        policy = search_policy(*places, options, arguments.budget, calls, *progress)
        write_text(arguments.out, policy_text(policy))
    else:
        calibrate(*places, options, *progress).write(arguments.out)
    print(arguments.out)
    return 0


def _require_apart(arguments: argparse.Namespace, loras: LoraStacks) -> None:
    """Raises MediaError for an OUT that would replace what is read here, or lie among it."""
    from wan_trt.media.overwriting import require_no_input, require_outside

    specs = (*loras.both, *loras.high, *loras.low)
    read = {
        "CHECKPOINT": arguments.checkpoint,
        "--inputs": arguments.inputs,
        **{f"--reuse {bundle}": bundle for bundle in arguments.reuse},
        **{f"--lora {spec.path}": spec.path for spec in specs},
        **{f"the config of --lora {spec.path}": spec.config for spec in specs if spec.config},
        "--policy": Path(arguments.policy),
    }
    require_no_input(arguments.out, read)
    require_outside(arguments.out, read)


def _check_search(arguments: argparse.Namespace) -> None:
    """Raises InputError for a search without a budget and for what only a search reads."""
    if arguments.search and arguments.budget is None:
        raise InputError(
            "missing",
            expected="a number, e.g. 0.001, for --search",
            action="give one",
            field="budget",
        )
    for field in ("budget", "calls"):
        if not arguments.search and getattr(arguments, field) is not None:
            raise InputError(
                "given without --search",
                expected="nothing: only a search reads it",
                action="leave it out, or add --search",
                field=field,
            )
