"""Make the pose and face videos (in replace mode also background and mask) of a driving video.

The motion comes from a key-point file (COCO-WholeBody-133 JSON, see assets/keypoints): skeletons
are drawn and faces cropped as the official preprocessing does. DIR gets the official names:
src_pose, src_face, src_ref.png and, in replace mode, src_bg and src_mask; as .mp4, or with
--lossless as .safetensors. `generate` takes them as they are. src_pose.mp4 carries the sound of
the driving video, so that the result has it too. DIR must be new: it appears when it is complete.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

from wan_trt.engine.frames import FrameSource
from wan_trt.engine.request import Mode

SUMMARY = "driving video + key points -> pose, face, background and mask videos"
EXAMPLES = (
    "wan-trt preprocess --video dance.mp4 --keypoints dance.json --reference hero.png "
    "--out prepared",
    """\
wan-trt preprocess --mode replace --video street.mp4 --keypoints street.json \\
    --matte person.mp4 --reference hero.png --size 832x480 --out scene""",
)

_CHUNK_FRAMES = 8
_HIGHEST_RATE = 10_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--video",
        metavar="VIDEO",
        type=Path,
        required=True,
        help="the driving video: the person in it shows how to move",
    )
    parser.add_argument(
        "--keypoints",
        metavar="FILE",
        type=Path,
        required=True,
        help="where that person's joints, hands and face are in each frame, as JSON",
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
    parser.add_argument(
        "--matte",
        metavar="VIDEO",
        type=Path,
        help="replace mode: a video that is white where the person is, black elsewhere "
        "(default: a generous box around the key points)",
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--size", metavar="WxH", help="size of the result in pixels, both multiples of 16"
    )
    size.add_argument(
        "--area",
        metavar="PIXELS",
        type=int,
        default=1280 * 720,
        help="width times height of the result, about; it has the aspect of the reference, in "
        "replace mode of the driving video (default: %(default)s, as 1280x720)",
    )
    parser.add_argument(
        "--face-size",
        metavar="PIXELS",
        type=int,
        default=512,
        help="width and height of the face video (default: %(default)s)",
    )
    parser.add_argument(
        "--fps",
        metavar="RATE",
        type=_rate,
        help="frames per second of the result, e.g. 30 or 24000/1001 (default: the video's)",
    )
    parser.add_argument(
        "--frames", dest="frame_limit", metavar="N", type=int, help="use only the first N frames"
    )
    parser.add_argument(
        "--lossless", action="store_true", help="write .safetensors files instead of .mp4"
    )


def run(arguments: argparse.Namespace) -> int:
    from PIL import Image

    from wan_trt.cli.sizes import parse_size
    from wan_trt.media import open_frames, read_image
    from wan_trt.media.staged_folder import staged_folder
    from wan_trt.preprocess import Options, prepare, read_keypoints

    options = Options(
        mode=Mode(arguments.mode),
        area=arguments.area,
        # (height, width)
        size=parse_size(arguments.size)[::-1] if arguments.size else None,
        rate=arguments.fps,
        frame_limit=arguments.frame_limit,
        face_size=arguments.face_size,
    )
    out: Path = arguments.out
    with staged_folder(out) as stage, ExitStack() as stack:
        driver = open_frames(arguments.video, field="video")
        stack.callback(driver.close)
        matte = None
        if arguments.matte is not None:
            matte = open_frames(arguments.matte, field="matte")
            stack.callback(matte.close)
        reference = read_image(arguments.reference, field="reference")
        track = read_keypoints(arguments.keypoints)
        prepared = prepare(reference, track, driver, options, matte)
        sources: dict[str, FrameSource | None] = {
            "src_pose": prepared.pose,
            "src_face": prepared.face,
            "src_bg": prepared.background,
            "src_mask": prepared.mask,
        }
        suffix = ".safetensors" if arguments.lossless else ".mp4"
        for name, source in sources.items():
            if source is not None:
                sound = arguments.video if name == "src_pose" else None
                _write(source, stage / f"{name}{suffix}", sound)
        Image.fromarray(reference).save(stage / "src_ref.png")
    if prepared.frames_without_face:
        print(f"{prepared.frames_without_face} frames show no face: the nearest box was used")
    print(out)
    return 0


def _write(source: FrameSource, path: Path, sound: Path | None) -> None:
    from wan_trt.media import open_pixel_writer

    writer = open_pixel_writer(
        path,
        height=source.height,
        width=source.width,
        frame_count=source.count,
        rate=source.rate,
        audio_from=sound,
    )
    try:
        for start in range(0, source.count, _CHUNK_FRAMES):
            writer.write(source.read(start, min(start + _CHUNK_FRAMES, source.count)))
        writer.close()
    finally:
        writer.abort()


def _rate(text: str) -> Fraction:
    """Frames per second, as 30, 23.976 or 24000/1001."""
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= _HIGHEST_RATE:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a rate such as 30 or 24000/1001")
    return rate
