"""Make a video from a bundle on this machine.

Which options are needed depends on the model in the bundle (`wan-trt inspect BUNDLE` names it):

  Animate         --reference and --video: the character of the picture moves as the person in the
                  driving video does. --models or --keypoints tell how that person moves. Or
                  --reference, --pose and --face, which `wan-trt preprocess` makes out of a driving
                  video; the video then has the size, rate and sound of the pose video.
  image-to-video  --reference: the video begins with this picture and has its aspect, at 16 frames
                  a second. --prompt says what happens.

OUT appears under its name only when it is complete.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from wan_trt.cli.device_options import add_device_arguments, open_engine
from wan_trt.cli.driver_options import (
    add_driver_arguments,
    prepare_driver,
    refuse_without_video,
)
from wan_trt.cli.request_options import add_request_arguments, choices_from
from wan_trt.engine.choices import RequestChoices
from wan_trt.engine.errors import InputError
from wan_trt.engine.frames import FrameSink
from wan_trt.engine.models import ModelName

if TYPE_CHECKING:
    from wan_trt.media import RequestFiles

_FURTHER_FILES = ("audio", "video", "keypoints", "matte", "reference_keypoints")

SUMMARY = "make a video from a bundle, here"
EXAMPLES = (
    """\
wan-trt generate animate_bundle --reference hero.png --video dance.mp4 \\
    --models Wan2.2-Animate-14B --out hero.mp4""",
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
    driver = parser.add_argument_group("for Animate, from a driving video")
    driver.add_argument(
        "--video",
        metavar="VIDEO",
        type=Path,
        help="a driving video, instead of --pose, --face, --background and --mask; --area and "
        "--frames are then about the result, too",
    )
    add_driver_arguments(driver)
    machine = parser.add_argument_group("besides")
    machine.add_argument(
        "--audio",
        metavar="FILE",
        type=Path,
        help="a file whose sound the .mp4 gets (default: the driving or the pose video's)",
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
    from wan_trt.media import RequestFiles, SoundFile, open_request, open_sink
    from wan_trt.media.overwriting import require_no_input
    from wan_trt.media.partial_output import try_place, write_text
    from wan_trt.media.sound_reader import require_sound

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
        for name, path in (
            asdict(files) | {name: getattr(arguments, name) for name in _FURTHER_FILES}
        ).items()
    }
    require_no_input(arguments.out, inputs)
    if arguments.timings is not None:
        require_no_input(arguments.timings, inputs, "timings")
        try_place(arguments.timings, "timings")
    if arguments.audio is not None:
        _require_mp4(arguments.out)
        require_sound(arguments.audio, "audio")
    choices = choices_from(arguments)
    with ExitStack() as resources:
        if arguments.video is None:
            refuse_without_video(arguments)
        else:
            files, choices = _with_driver(
                bundle.manifest.model, arguments, files, choices, resources
            )
        request = open_request(bundle.manifest.model, files, choices, resources)
        sound = arguments.audio or arguments.video or arguments.pose

        def open_output() -> FrameSink:
            return open_sink(
                arguments.out,
                height=request.height,
                width=request.width,
                frame_count=request.frame_count,
                rate=request.rate,
                audio_from=SoundFile(Path(sound)) if sound else None,
            )

        with open_engine(bundle, arguments.device, arguments.threads) as engine:
            progress = ProgressLine(sys.stderr)
            summary = engine.generate(request, open_output, on_event=progress.show)
        if arguments.timings is not None:
            times = json.dumps(asdict(summary), indent=1, default=str)
            write_text(arguments.timings, times + "\n", "timings")
    print(arguments.out)
    return 0


def _with_driver(
    model: ModelName,
    arguments: argparse.Namespace,
    files: RequestFiles,
    choices: RequestChoices,
    resources: ExitStack,
) -> tuple[RequestFiles, RequestChoices]:
    """The driving video's poses and faces, drawn while the engine reads them."""
    from wan_trt.cli.preprocess_progress import PreparationLine

    if model is not ModelName.ANIMATE:
        raise InputError(
            f"given, but the bundle holds {model}",
            expected="no such option for this model",
            action="leave it out, or use another bundle",
            field="video",
        )
    for name in ("pose", "face", "background", "mask"):
        if getattr(arguments, name) is not None:
            raise InputError(
                "given together with --video",
                expected="one of the two: it is made from the driving video",
                action="leave one of them out",
                field=name,
            )
    prepared = prepare_driver(
        arguments, arguments.video, arguments.frames, resources, PreparationLine(sys.stderr).show
    )
    if prepared.frames_without_face:
        count = prepared.frames_without_face
        print(f"{count} frames show no face: the nearest box is used", file=sys.stderr)
    files = replace(
        files,
        pose=prepared.pose,
        face=prepared.face,
        background=prepared.background,
        mask=prepared.mask,
    )
    # They were about the driving video.
    return files, replace(choices, frames=None, area=None)


def _require_mp4(out: Path) -> None:
    """Only an .mp4 has a place for sound: nothing else may pretend to take it."""
    if out.suffix.lower() != ".mp4":
        raise InputError(
            f"given, but {out} has no place for sound",
            expected="an output that ends in .mp4",
            action="leave it out, or choose such an output",
            field="audio",
        )
