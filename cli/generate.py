"""Make a video from a bundle on this machine.

The bundle's model decides which options are needed: Animate takes --pose and --face, and the pose
video's size, rate and sound are the result's; image-to-video takes --reference alone, and makes
16 frames a second in its aspect.

OUT is .mp4, an image pattern such as frames/%04d.png, or .safetensors (float32 frames [T,H,W,3] in
[-1,1] and latents.K of segment K). It appears under its name only when it is complete. An .mp4
gets the sound of --audio where given.

  wan-trt generate animate --reference hero.png --pose pose.mp4 --face face.mp4 --out hero.mp4
  wan-trt generate i2v --reference first.png --prompt "the tide comes in" --out tide.mp4
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from wan_trt.cli.request_options import add_request_arguments, choices_from
from wan_trt.engine.frames import FrameSink

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
    from wan_trt.media import RequestFiles, open_request, open_sink
    from wan_trt.media.audio_track import require_sound
    from wan_trt.media.overwriting import require_no_input
    from wan_trt.media.partial_output import try_place, write_text

    bundle = Bundle.open(arguments.bundle)
    files = RequestFiles(
        reference=arguments.reference,
        pose=arguments.pose,
        face=arguments.face,
        background=arguments.background,
        mask=arguments.mask,
        last_frame=arguments.last_frame,
        noise=arguments.noise,
    )
    inputs = asdict(files) | {"audio": arguments.audio}
    require_no_input(arguments.out, inputs)
    if arguments.timings is not None:
        require_no_input(arguments.timings, inputs)
        try_place(arguments.timings, "timings")
    if arguments.audio is not None:
        require_sound(arguments.audio, "audio")
    with ExitStack() as resources:
        request = open_request(bundle.manifest.model, files, choices_from(arguments), resources)
        sound = arguments.audio or arguments.pose

        def open_output() -> FrameSink:
            return open_sink(
                arguments.out,
                height=request.height,
                width=request.width,
                frame_count=request.frame_count,
                rate=request.rate,
                audio_from=Path(sound) if sound else None,
            )

        with Engine(bundle, threads=arguments.threads) as engine:
            progress = ProgressLine(sys.stderr)
            summary = engine.generate(request, open_output, on_event=progress.show)
        if arguments.timings is not None:
            times = json.dumps(asdict(summary), indent=1, default=str)
            write_text(arguments.timings, times + "\n", "timings")
    print(arguments.out)
    return 0
