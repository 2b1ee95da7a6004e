"""The options that say how a driving video is prepared, shared by `preprocess` and `generate`."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from wan_trt.engine.errors import InputError
from wan_trt.engine.request import Mode

if TYPE_CHECKING:
    from wan_trt.preprocess import Prepared
    from wan_trt.preprocess.driver import DriverChoices, MaskSource
    from wan_trt.preprocess.networks.folder import NetworkFolder
    from wan_trt.preprocess.progress import OnProgress

_HIGHEST_RATE = 10_000
_MASK_SOURCES = ("sam2", "box")
DRIVER_MEDIA = (
    "keypoints",
    "matte",
    "reference_keypoints",
    "edited_driver",
    "edited_character",
)
"""Those of the options that name files about a driving video."""
_DRIVER_FIELDS = (
    *("keypoints", "models", "person", "retarget", "reference_keypoints", "edited_driver"),
    *("edited_character", "matte", "mask_from", "smooth_points_s", "smooth_faces_s", "face_size"),
    *("fps", "size"),
)


def add_driver_arguments(group: argparse._ArgumentGroup | argparse.ArgumentParser) -> None:
    """What is not an option of `generate` without a driving video."""
    add_preparation_arguments(group)
    group.add_argument(
        "--models",
        metavar="DIR",
        type=Path,
        help="instead of --keypoints: a Wan2.2-Animate checkpoint, or its process_checkpoint, with "
        "the networks that find them: det/yolov10m.onnx and pose2d/vitpose_h_wholebody.onnx; in "
        "replace mode also sam2/*.onnx, see docs/preprocessing.md",
    )


def add_preparation_arguments(group: argparse._ArgumentGroup | argparse.ArgumentParser) -> None:
    """Those that a server knows, too: it has networks of its own."""
    group.add_argument(
        "--keypoints",
        metavar="FILE",
        type=Path,
        help="where that person's joints, hands and face are in each frame: COCO-WholeBody-133, "
        "OpenPose or MediaPipe JSON, or a folder of OpenPose's files",
    )
    group.add_argument(
        "--person",
        metavar="X,Y",
        help="where several people are in the picture: the one at this point of the video, or in "
        "the box LEFT,TOP,RIGHT,BOTTOM, followed from there (default: the largest of each frame)",
    )
    group.add_argument(
        "--retarget",
        action="store_true",
        help="animate mode: give the character's limbs their own lengths; its picture and the "
        "video's first frame should show people upright, facing the camera, limbs stretched out",
    )
    group.add_argument(
        "--reference-keypoints",
        metavar="FILE",
        type=Path,
        help="with --retarget: the key points of --reference (default: found by the networks)",
    )
    group.add_argument(
        "--edited-driver",
        metavar="IMAGE|FILE",
        type=Path,
        help="with --retarget: the person of the video in a T-pose, or the key points of that",
    )
    group.add_argument(
        "--edited-character",
        metavar="IMAGE|FILE",
        type=Path,
        help="with --edited-driver: the character in a T-pose, or the key points of that",
    )
    group.add_argument(
        "--matte",
        metavar="VIDEO",
        type=Path,
        help="replace mode: a video that is white where the person is, black elsewhere",
    )
    group.add_argument(
        "--mask-from",
        choices=_MASK_SOURCES,
        help="replace mode without --matte: cut the person out with SAM2, or take a generous box "
        "around the key points (default: sam2 where there are networks, else box)",
    )
    group.add_argument(
        "--smooth-points",
        dest="smooth_points_s",
        metavar="SECONDS",
        type=float,
        default=0.0,
        help="average key points over about so long (default: %(default)s, as the official code)",
    )
    group.add_argument(
        "--smooth-faces",
        dest="smooth_faces_s",
        metavar="SECONDS",
        type=float,
        default=0.0,
        help="average face boxes over about so long (default: %(default)s, as the official code)",
    )
    group.add_argument(
        "--face-size",
        metavar="PIXELS",
        type=int,
        default=512,
        help="width and height of the face video (default: %(default)s)",
    )
    group.add_argument(
        "--fps",
        metavar="RATE",
        type=_rate,
        help="frames per second of the result, e.g. 30 or 24000/1001 (default: the video's)",
    )
    group.add_argument(
        "--size",
        metavar="WxH",
        help="size of the result in pixels, both multiples of 16, instead of --area",
    )


def prepare_driver(
    arguments: argparse.Namespace,
    video: Path,
    frame_limit: int | None,
    resources: ExitStack,
    on_progress: OnProgress,
) -> Prepared:
    """Opens what the arguments name and prepares it; files are closed with `resources`."""
    from wan_trt.engine.choices import RequestChoices
    from wan_trt.preprocess.driver import Driver, DriverFiles, check_choices

    settings = RequestChoices(
        mode=None if arguments.mode is None else Mode(arguments.mode),
        frames=frame_limit,
        area=arguments.area,
    )
    files = DriverFiles(
        video,
        Path(arguments.reference),
        **{name: getattr(arguments, name) for name in DRIVER_MEDIA},
    )
    choices = driver_choices(arguments)
    options = choices.options(settings)
    check_choices(files, choices, options)
    if options.mode is Mode.REPLACE and files.matte is None:
        choices = replace(choices, mask_from=choices.mask_from or _mask_from(arguments))
    networks = _networks(arguments, choices)
    return Driver(files, choices, options, networks, resources).prepare(on_progress)


def driver_choices(arguments: argparse.Namespace) -> DriverChoices:
    """What the options say. Raises InputError."""
    from wan_trt.cli.sizes import parse_size
    from wan_trt.preprocess.driver import DriverChoices, MaskSource

    return DriverChoices(
        person=None if arguments.person is None else _place(arguments.person),
        retarget=arguments.retarget,
        mask_from=None if arguments.mask_from is None else MaskSource(arguments.mask_from),
        smooth_points_s=arguments.smooth_points_s,
        smooth_faces_s=arguments.smooth_faces_s,
        face_size=arguments.face_size,
        rate=arguments.fps,
        # (height, width)
        size=parse_size(arguments.size)[::-1] if arguments.size else None,
    )


def refuse_without_video(arguments: argparse.Namespace) -> None:
    """`generate` has these options for a driving video only."""
    for name in _DRIVER_FIELDS:
        if getattr(arguments, name, None) != arguments.parser.get_default(name):
            raise InputError(
                "given without --video",
                expected="a driving video that it is about",
                action="name the video, or leave it out",
                field=name,
            )


def _networks(arguments: argparse.Namespace, choices: DriverChoices) -> NetworkFolder | None:
    from wan_trt.preprocess.driver import MaskSource
    from wan_trt.preprocess.networks.folder import NetworkFolder
    from wan_trt.preprocess.networks.onnx_network import NetworkDevice

    if arguments.models is not None:
        device = NetworkDevice(getattr(arguments, "device", None) or NetworkDevice.CPU)
        return NetworkFolder.find(arguments.models, device)
    if arguments.keypoints is None or choices.mask_from is MaskSource.SAM2:
        what = "the person's key points" if arguments.keypoints is None else "SAM2"
        raise InputError(
            f"missing: nothing tells {what}",
            expected="a folder with the networks that do",
            action="give --models DIR (a checkpoint's process_checkpoint), "
            + ("or --keypoints FILE" if arguments.keypoints is None else "or --matte VIDEO"),
            field="models",
        )
    return None


def _mask_from(arguments: argparse.Namespace) -> MaskSource:
    from wan_trt.preprocess.driver import MaskSource

    return MaskSource.BOX if arguments.models is None else MaskSource.SAM2


def _place(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(
            repr(text),
            expected="X,Y or LEFT,TOP,RIGHT,BOTTOM in pixels",
            action="write it as in 640,360",
            field="person",
        ) from None


def _rate(text: str) -> Fraction:
    """Frames per second, as 30, 23.976 or 24000/1001."""
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= _HIGHEST_RATE:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a rate such as 30 or 24000/1001")
    return rate
