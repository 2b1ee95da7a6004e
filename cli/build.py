"""Build TensorRT plans for a bundle, on the GPU host where they will run.

A plan belongs to one model of GPU and one TensorRT (11.4 or later), and to one size of video: every
graph is built for each --size. Each engine is built in a process of its own, looked at - every
attention and every FP8 linear must be one kernel - and compared with ONNX Runtime on the same
inputs. Plans, timings and verdicts go into the bundle.

--dry-run needs neither GPU nor TensorRT: it checks every graph against what TensorRT supports and
tells how many bytes engines and builds will take.

Exit code 5: a plan is not fused, or not right.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from wan_trt.engine.errors import InputError

if TYPE_CHECKING:
    from wan_trt.engine.bundle import Bundle
    from wan_trt.plan.jobs import BuildOptions
    from wan_trt.plan.targets import Target

SUMMARY = "build TensorRT plans on a GPU host, or tell what that would take"
EXAMPLES = (
    "wan-trt build animate --size 1280x720 --size 832x480 --dry-run",
    "wan-trt build animate --size 1280x720 --workspace-gb 8 --strip",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "bundle", metavar="BUNDLE", type=Path, help="folder that `wan-trt export` wrote"
    )
    _add_target_arguments(parser.add_argument_group("what is built"))
    _add_plan_arguments(parser.add_argument_group("the plans"))
    _add_gate_arguments(parser.add_argument_group("the verdict"))


def _add_target_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--size",
        metavar="WxH",
        action="append",
        required=True,
        help="pixels of videos, multiples of 16; may be given several times",
    )
    group.add_argument(
        "--frames",
        metavar="N",
        type=int,
        help="frames that the model runs over at once, 4n+1 (default: 77, image-to-video 81)",
    )
    group.add_argument(
        "--graphs",
        metavar="NAME,..",
        help="these graphs only, as `wan-trt inspect` names them (default: all)",
    )
    group.add_argument(
        "--dry-run", action="store_true", help="check and estimate; build nothing, need no GPU"
    )


def _add_plan_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--workspace-gb",
        metavar="GB",
        type=float,
        help="GPU memory that one kernel may use besides its tensors (default: what there is)",
    )
    group.add_argument(
        "--optimization-level",
        metavar="0-5",
        type=int,
        default=3,
        help="how hard TensorRT looks for fast kernels (default: 3)",
    )
    group.add_argument(
        "--pinned",
        action="store_true",
        help="use the kernels that were timed before and no others: an error where one is missing",
    )
    group.add_argument(
        "--strip",
        action="store_true",
        help="leave the weights out of the plans: they are put back from the bundle at load",
    )
    group.add_argument(
        "--refit-loras",
        action="store_true",
        help="let the weights that LoRAs changed be exchanged later; may be slower",
    )


def _add_gate_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--no-gate",
        action="store_true",
        help="keep plans in which an attention or FP8 linear is not one kernel; it is noted",
    )
    group.add_argument(
        "--no-parity",
        action="store_true",
        help="do not run ONNX Runtime for comparison: at full size its CPU takes hours",
    )
    group.add_argument(
        "--keep",
        metavar="DIR",
        type=Path,
        help="leave logs, inputs and outputs of every engine here, and all of one that failed",
    )
    group.add_argument(
        "--seed",
        metavar="N",
        type=int,
        default=0,
        help="what inputs of the comparison are drawn from (default: 0)",
    )


def run(arguments: argparse.Namespace) -> int:
    from wan_trt.engine.bundle import Bundle
    from wan_trt.plan.dry_run import lines, survey

    bundle = Bundle.open(arguments.bundle)
    options = _options(arguments)
    targets = _targets(bundle, arguments)
    if arguments.dry_run:
        for line in lines(survey(bundle, targets)):
            print(line)
        return 0
    return _build(bundle, targets, options, arguments.keep)


def _build(
    bundle: Bundle, targets: tuple[Target, ...], options: BuildOptions, keep: Path | None
) -> int:
    from wan_trt.cli.build_progress import BuildLine
    from wan_trt.cli.bundle_text import plans
    from wan_trt.plan.build import build

    built = build(bundle, targets, options, BuildLine(sys.stderr).show, keep)
    for line in plans(built.manifest):
        print(line)
    return 0


def _targets(bundle: Bundle, arguments: argparse.Namespace) -> tuple[Target, ...]:
    from wan_trt.cli.sizes import parse_size
    from wan_trt.engine.request import default_frames
    from wan_trt.plan.targets import VideoSize, plan_targets

    frames = arguments.frames
    if frames is None:
        frames = default_frames(bundle.manifest.model)
    sizes = [VideoSize(*parse_size(text), frames) for text in arguments.size]
    graphs = None if arguments.graphs is None else arguments.graphs.split(",")
    return plan_targets(bundle.manifest, sizes, graphs)


def _options(arguments: argparse.Namespace) -> BuildOptions:
    from wan_trt.plan.jobs import BuildOptions

    workspace = arguments.workspace_gb
    if workspace is not None and not 0 < workspace < 1e6:
        raise InputError(f"{workspace}", expected="gigabytes, more than 0", field="workspace_gb")
    if not 0 <= arguments.optimization_level <= 5:
        raise InputError(
            f"{arguments.optimization_level}", expected="0 to 5", field="optimization_level"
        )
    return BuildOptions(
        workspace_nbytes=None if workspace is None else round(workspace * 1e9),
        optimization_level=arguments.optimization_level,
        pinned=arguments.pinned,
        strip=arguments.strip,
        refit_loras=arguments.refit_loras,
        gate=not arguments.no_gate,
        parity=not arguments.no_parity,
        seed=arguments.seed,
    )
