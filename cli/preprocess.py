"""Make the pose and face videos (in replace mode also background and mask) of a driving video.

Who moves in it, and how, is found by the networks in --models, or read from a file of key points.
Skeletons are drawn and faces cropped as the official preprocessing does. DIR gets the official
names: src_pose, src_face, src_ref.png and, in replace mode, src_bg and src_mask; as .mp4, or with
--lossless as .safetensors. `generate` takes them as they are. Besides, preview.mp4 shows what was
found, and keypoints.json holds the key points for another time. src_pose.mp4 carries the sound of
the driving video, so that the result has it too. DIR must be new: it appears when it is complete.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from wan_trt.cli.driver_options import add_driver_arguments
from wan_trt.engine.request import Mode

if TYPE_CHECKING:
    from wan_trt.preprocess import Prepared
    from wan_trt.preprocess.progress import OnProgress

SUMMARY = "driving video -> pose, face, background and mask videos"
EXAMPLES = (
    """\
wan-trt preprocess --video dance.mp4 --models Wan2.2-Animate-14B --reference hero.png \\
    --out prepared""",
    """\
wan-trt preprocess --mode replace --video street.mp4 --keypoints street.json \\
    --matte person.mp4 --reference hero.png --size 832x480 --out scene""",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--video",
        metavar="VIDEO",
        type=Path,
        required=True,
        help="the driving video: the person in it shows how to move",
    )
    parser.add_argument(
        "--reference",
        metavar="IMAGE",
        type=Path,
        required=True,
        help="the picture of the character that is to move",
    )
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder to make")
    parser.add_argument(
        "--mode",
        choices=[mode.value for mode in Mode],
        default="animate",
        help="animate: the character moves in its own picture; replace: it takes the person's "
        "place in the driving video (default: %(default)s)",
    )
    add_driver_arguments(parser)
    parser.add_argument(
        "--area",
        metavar="PIXELS",
        type=int,
        help="width times height of the result, about; it has the aspect of the reference, in "
        "replace mode of the driving video (default: 921600, as 1280x720)",
    )
    parser.add_argument(
        "--frames", dest="frame_limit", metavar="N", type=int, help="use only the first N frames"
    )
    parser.add_argument(
        "--device",
        choices=["cpu", "cuda"],
        default="cpu",
        help="where the networks run (default: %(default)s)",
    )
    parser.add_argument(
        "--lossless", action="store_true", help="write .safetensors files instead of .mp4"
    )
    parser.add_argument("--no-preview", action="store_true", help="write no preview.mp4")


def run(arguments: argparse.Namespace) -> int:
    from PIL import Image

    from wan_trt.cli.driver_options import prepare_driver
    from wan_trt.cli.preprocess_progress import PreparationLine
    from wan_trt.media.staged_folder import staged_folder
    from wan_trt.preprocess import write_keypoints

    out: Path = arguments.out
    progress = PreparationLine(sys.stderr)
    with staged_folder(out) as stage, ExitStack() as resources:
        prepared = prepare_driver(
            arguments, arguments.video, arguments.frame_limit, resources, progress.show
        )
        _write(arguments, prepared, stage, progress.show)
        write_keypoints(prepared.keypoints, stage / "keypoints.json")
        Image.fromarray(prepared.reference).save(stage / "src_ref.png")
    if prepared.frames_without_face:
        print(f"{prepared.frames_without_face} frames show no face: the nearest box was used")
    print(out)
    return 0


def _write(
    arguments: argparse.Namespace, prepared: Prepared, stage: Path, on_progress: OnProgress
) -> None:
    """All videos together, a few frames at a time: each frame of the driver is decoded once."""
    from wan_trt.media import SoundFile, open_pixel_writer
    from wan_trt.preprocess.frame_ranges import pieces
    from wan_trt.preprocess.progress import Progress

    suffix = ".safetensors" if arguments.lossless else ".mp4"
    files = {
        f"src_pose{suffix}": prepared.pose,
        f"src_face{suffix}": prepared.face,
        f"src_bg{suffix}": prepared.background,
        f"src_mask{suffix}": prepared.mask,
        "preview.mp4": None if arguments.no_preview else prepared.preview,
    }
    with ExitStack() as unfinished:
        writers = []
        for name, source in files.items():
            if source is not None:
                writer = open_pixel_writer(
                    stage / name,
                    height=source.height,
                    width=source.width,
                    frame_count=source.count,
                    rate=source.rate,
                    audio_from=SoundFile(arguments.video) if name.startswith("src_pose") else None,
                )
                unfinished.callback(writer.abort)
                writers.append((source, writer))
        count = prepared.pose.count
        for first, last in pieces(0, count):
            for source, writer in writers:
                writer.write(source.read(first, last))
            on_progress(Progress("writing", last, count))
        for _, writer in writers:
            writer.close()
