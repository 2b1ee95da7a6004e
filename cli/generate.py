"""Make a video from a bundle on this machine.

Which options are needed depends on the model in the bundle (`wan-trt inspect BUNDLE` names it):

  Animate         --reference, --pose and --face: the character of the picture moves as the driving
                  video does. `wan-trt preprocess` makes --pose and --face out of one. The video
                  has the size, rate and sound of the pose video.
  image-to-video  --reference: the video begins with this picture and has its aspect, at 16 frames
                  a second. --prompt says what happens.

OUT appears under its name only when it is complete.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from wan_trt.cli.device_options import add_device_arguments, open_engine
from wan_trt.cli.request_options import add_request_arguments, choices_from
from wan_trt.engine.errors import InputError
from wan_trt.engine.frames import FrameSink

SUMMARY = "make a video from a bundle, here"
EXAMPLES = (
    """\
wan-trt generate animate_bundle --reference hero.png --pose prepared/src_pose.mp4 \\
    --face prepared/src_face.mp4 --out hero.mp4""",
    """\
wan-trt generate i2v_bundle --reference beach.png --prompt "the tide comes in" \\
    --frames 81 --guidance 3.5,3.5 --out tide.mp4""",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "bundle", metavar="BUNDLE", type=Path, help="the folder that `wan-trt export` made"
    )
    parser.add_argument(
        "--out",
        metavar="OUT",
        type=Path,
        required=True,
        help="the video: .mp4; frames/%%04d.png for one picture a frame; or .safetensors with "
        "float32 frames [T,H,W,3] in [-1,1], and the latents.K of each segment K",
    )
    add_request_arguments(parser)
    machine = parser.add_argument_group("besides")
    machine.add_argument(
        "--audio",
        metavar="FILE",
        type=Path,
        help="a file whose sound the .mp4 gets (default: the pose video's)",
    )
    add_device_arguments(machine)
    machine.add_argument(
        "--timings",
        metavar="FILE",
        type=Path,
        help="also write, as JSON, how long each stage took and how much memory it needed",
    )


def run(arguments: argparse.Namespace) -> int:
    from wan_trt.cli.progress import ProgressLine
    from wan_trt.engine import Bundle
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
    inputs = {
        arguments.parser.spelled(name): path
        for name, path in (asdict(files) | {"audio": arguments.audio}).items()
    }
    require_no_input(arguments.out, inputs)
    if arguments.timings is not None:
        require_no_input(arguments.timings, inputs, "timings")
        try_place(arguments.timings, "timings")
    if arguments.audio is not None:
        _require_mp4(arguments.out)
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

        with open_engine(bundle, arguments) as engine:
            progress = ProgressLine(sys.stderr)
            summary = engine.generate(request, open_output, on_event=progress.show)
        if arguments.timings is not None:
            times = json.dumps(asdict(summary), indent=1, default=str)
            write_text(arguments.timings, times + "\n", "timings")
    print(arguments.out)
    return 0


def _require_mp4(out: Path) -> None:
    """Only an .mp4 has a place for sound: nothing else may pretend to take it."""
    if out.suffix.lower() != ".mp4":
        raise InputError(
            f"given, but {out} has no place for sound",
            expected="an output that ends in .mp4",
            action="leave it out, or choose such an output",
            field="audio",
        )
