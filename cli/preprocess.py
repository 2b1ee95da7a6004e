"""Make the pose and face videos (in replace mode also background and mask) of a driving video.

The motion comes from a key-point file (COCO-WholeBody-133 JSON, see assets/keypoints): skeletons
are drawn and faces cropped as the official preprocessing does. DIR gets the official names:
src_pose, src_face, src_ref.png and, in replace mode, src_bg and src_mask; as .mp4, or with
--lossless as .safetensors. `generate` takes them as they are. src_pose.mp4 carries the sound of
the driving video, so that the result has it too. DIR must be new: it appears when it is complete.

  wan-trt preprocess --video dance.mp4 --keypoints dance.json --reference hero.png --out prepared
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

from wan_trt.engine.errors import InputError
from wan_trt.engine.frames import FrameSource
from wan_trt.engine.request import Mode

SUMMARY = "driving video + key points -> pose, face, background and mask videos"

_CHUNK_FRAMES = 8
_HIGHEST_RATE = 10_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--video", metavar="VIDEO", type=Path, required=True)
    parser.add_argument("--keypoints", metavar="FILE", type=Path, required=True)
    parser.add_argument("--reference", metavar="IMAGE", type=Path, required=True)
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder to make")
    parser.add_argument(
        "--mode", choices=[mode.value for mode in Mode], default="animate", help="default: animate"
    )
    parser.add_argument("--matte", metavar="VIDEO", type=Path, help="replace: white = person")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--size", metavar="WxH", help="of the result, multiples of 16")
    size.add_argument(
        "--area",
        metavar="PIXELS",
        type=int,
        default=1280 * 720,
        help="of the result, in the aspect of the reference (animate) or the video (replace)",
    )
    parser.add_argument("--face-size", type=int, default=512, help="default: %(default)s")
    parser.add_argument("--fps", type=_rate, help="of the result (default: the video's)")
    parser.add_argument("--frames", metavar="N", type=int, help="use only the first N frames")
    parser.add_argument("--lossless", action="store_true", help=".safetensors instead of .mp4")


def run(arguments: argparse.Namespace) -> int:
    from PIL import Image

    from wan_trt.media import open_frames, read_image
    from wan_trt.media.staged_folder import staged_folder
    from wan_trt.preprocess import Options, prepare, read_keypoints

    options = Options(
        mode=Mode(arguments.mode),
        area=arguments.area,
        size=_size(arguments.size) if arguments.size else None,
        rate=arguments.fps,
        frame_limit=arguments.frames,
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


def _size(text: str) -> tuple[int, int]:
    """WxH -> (height, width)."""
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise InputError(f"{text!r}", expected="WIDTHxHEIGHT, e.g. 1280x720", field="--size")
    return int(height), int(width)
