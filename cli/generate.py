"""Make a video from a bundle on this machine.

The size of the pose video is the size of the result. OUT is .mp4, an image pattern such as
frames/%04d.png, or .safetensors (float32 frames [T,H,W,3] in [-1,1] and latents.K of segment K).
It appears under its name only when it is complete. An .mp4 keeps the exact frame rate of the pose
video, and the sound of --audio or else of the pose video where there is one.

  wan-trt generate bundle --reference hero.png --pose pose.mp4 --face face.mp4 --out hero.mp4
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

from wan_trt.cli.request_options import add_request_arguments, sampling_from

SUMMARY = "make a video from a bundle, here"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", type=Path)
    add_request_arguments(parser)
    parser.add_argument("--audio", metavar="FILE", type=Path, help="whose sound an .mp4 gets")
    parser.add_argument("--threads", type=int, help="CPU threads (default: all cores)")
    parser.add_argument("--timings", metavar="FILE", type=Path, help="write stage times as JSON")
    parser.add_argument("--out", metavar="OUT", type=Path, required=True)


def run(arguments: argparse.Namespace) -> int:
    from wan_trt.cli.progress import ProgressLine
    from wan_trt.engine import Bundle, Engine
    from wan_trt.engine.request import Mode
    from wan_trt.engine.validation import validate_request
    from wan_trt.media import RequestFiles, open_sink

    bundle = Bundle.open(arguments.bundle)
    files = RequestFiles(
        reference=arguments.reference,
        pose=arguments.pose,
        face=arguments.face,
        background=arguments.background,
        mask=arguments.mask,
        noise=arguments.noise,
    )
    with ExitStack() as resources:
        request = replace(
            files.open(resources),
            mode=Mode(arguments.mode),
            prompt=arguments.prompt,
            negative_prompt=arguments.negative_prompt,
            sampling=sampling_from(arguments),
            seed=arguments.seed,
            segment_frames=arguments.segment_frames,
            overlap=arguments.overlap,
        )
        pose = request.pose
        validate_request(request, bundle.manifest)
        with Engine(bundle, threads=arguments.threads) as engine:
            sink = open_sink(
                arguments.out,
                height=pose.height,
                width=pose.width,
                frame_count=pose.count,
                rate=pose.rate,
                audio_from=arguments.audio or Path(arguments.pose),
            )
            summary = engine.generate(request, sink, on_event=ProgressLine(sys.stderr).show)
        if arguments.timings:
            arguments.timings.write_text(json.dumps(asdict(summary), indent=1, default=str) + "\n")
    print(arguments.out)
    return 0
