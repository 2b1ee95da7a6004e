"""Tell whether a bundle's results are as good as another's.

The same jobs are run on both: velocities are compared at every step on the reference's inputs,
latents and frames at the end of each of at least four chained segments. Each sample in --inputs
is a job, and all must pass; without it the job is a small made-up one. REFERENCE is a bundle, or
the .safetensors that `generate` wrote of the only job, in which case velocities are not compared.

The result is noted in BUNDLE's manifest. Exit code 5: BUNDLE did not pass.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wan_trt.calibration.gate.job import JobOptions

SUMMARY = "tell whether a bundle is as good as another"
EXAMPLES = (
    """\
wan-trt gate animate_fp8 --against animate_bf16 --inputs samples --steps 20 \\
    --report report.html""",
    "wan-trt gate animate_fp8 --against animate_bf16 --thresholds strict.toml --json verdict.json",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="the bundle to be judged")
    parser.add_argument(
        "--against",
        metavar="REFERENCE",
        type=Path,
        required=True,
        help="a bundle of the same model at higher precision, or a result in a .safetensors",
    )
    _add_job_arguments(parser.add_argument_group("the jobs"))
    verdict = parser.add_argument_group("the verdict")
    verdict.add_argument(
        "--thresholds",
        metavar="FILE",
        type=Path,
        help="a .toml that changes what is let pass (docs/fp8.md lists the defaults)",
    )
    verdict.add_argument(
        "--lpips",
        metavar="FILE",
        type=Path,
        help="weights for LPIPS, .safetensors: AlexNet's features.N and LPIPS's linN.model.1",
    )
    verdict.add_argument(
        "--report", metavar="FILE", type=Path, help="also write a page with plots and frames, .html"
    )
    verdict.add_argument(
        "--json", metavar="FILE", type=Path, help="also write every number that was measured"
    )
    verdict.add_argument(
        "--no-record", action="store_true", help="leave BUNDLE's manifest as it is"
    )
    parser.add_argument(
        "--threads", metavar="N", type=int, help="CPU threads to use (default: one a core)"
    )


def _add_job_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--inputs",
        metavar="DIR",
        type=Path,
        help="a folder for each sample, as `calibrate --inputs` takes it; what is given below goes "
        "before their request.toml",
    )
    group.add_argument(
        "--steps",
        metavar="N",
        type=int,
        help="denoising steps (default: 4; a sample's are the model's, 20 or 40)",
    )
    group.add_argument(
        "--segments",
        metavar="N",
        type=int,
        default=4,
        help="chained segments, 4 or more; image-to-video has one, which is judged in so many "
        "parts (default: 4)",
    )
    group.add_argument(
        "--segment-frames",
        metavar="N",
        type=int,
        help="frames of a segment, 4n+1 (default: 5; a sample's are what its clip is enough for, "
        "at most 77)",
    )
    group.add_argument(
        "--size",
        metavar="WxH",
        help="pixels of a made-up job, multiples of 16; image-to-video: about so many (default: "
        "96x64)",
    )
    group.add_argument(
        "--guidance",
        metavar="G|HIGH,LOW",
        help="how strongly to follow the prompt (default: 1, image-to-video 3.5)",
    )
    group.add_argument(
        "--seed", metavar="N", type=int, help="what noise is drawn from (default: 0)"
    )


def run(arguments: argparse.Namespace) -> int:
    from wan_trt.calibration.gate.gate import gate, record
    from wan_trt.calibration.gate.job import made_up_job, sample_jobs
    from wan_trt.calibration.gate.lpips import Lpips
    from wan_trt.calibration.gate.thresholds import Thresholds
    from wan_trt.calibration.report.page import write_report
    from wan_trt.cli.progress import ProgressLine
    from wan_trt.cli.verdict_text import verdict_lines
    from wan_trt.engine.bundle import Bundle
    from wan_trt.media.partial_output import try_place, write_text

    for field in ("report", "json"):
        if getattr(arguments, field) is not None:
            try_place(getattr(arguments, field), field)
    bundle = Bundle.open(arguments.bundle)
    against = Bundle.open(arguments.against) if arguments.against.is_dir() else arguments.against
    thresholds = Thresholds.read(arguments.thresholds)
    lpips = Lpips(arguments.lpips) if arguments.lpips else None
    options = _options(arguments)
    with ExitStack() as resources:
        jobs = (
            sample_jobs(bundle.manifest, arguments.inputs, options, resources)
            if arguments.inputs
            else [made_up_job(bundle.manifest, options)]
        )
        verdict = gate(
            bundle,
            against,
            jobs,
            thresholds,
            threads=arguments.threads,
            lpips=lpips,
            on_event=ProgressLine(sys.stderr).show,
        )
    if not arguments.no_record:
        record(bundle, verdict)
    if arguments.json is not None:
        write_text(arguments.json, verdict.to_json(), "json")
    if arguments.report is not None:
        write_report(verdict, bundle, arguments.bundle.name, arguments.report)
    for line in verdict_lines(verdict):
        print(line)
    verdict.require()
    return 0


def _options(arguments: argparse.Namespace) -> JobOptions:
    from wan_trt.calibration.gate.job import JobOptions
    from wan_trt.cli.request_options import parse_guidance
    from wan_trt.cli.sizes import parse_size

    guidance = arguments.guidance
    return JobOptions(
        steps=arguments.steps,
        segments=arguments.segments,
        segment_frames=arguments.segment_frames,
        size=None if arguments.size is None else parse_size(arguments.size),
        guidance=None if guidance is None else parse_guidance(guidance),
        seed=arguments.seed,
    )
