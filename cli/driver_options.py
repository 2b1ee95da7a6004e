"""The options that say how a driving video is prepared, shared by `preprocess` and `generate`."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from wan_trt.engine.errors import InputError
from wan_trt.engine.request import Mode

if TYPE_CHECKING:
    from wan_trt.preprocess import KeypointTrack, Options, Prepared, RetargetFigures
    from wan_trt.preprocess.figures import Seen
    from wan_trt.preprocess.networks.folder import NetworkFolder
    from wan_trt.preprocess.progress import OnProgress

_HIGHEST_RATE = 10_000
_BOX, _SAM2 = "box", "sam2"
_DRIVER_FIELDS = (
    *("keypoints", "models", "person", "retarget", "reference_keypoints", "edited_driver"),
    *("edited_character", "matte", "mask_from", "smooth_points_s", "smooth_faces_s", "face_size"),
    *("fps", "size"),
)


def add_driver_arguments(group: argparse._ArgumentGroup | argparse.ArgumentParser) -> None:
    """What is not an option of `generate` without a driving video."""
    group.add_argument(
        "--keypoints",
        metavar="FILE",
        type=Path,
        help="where that person's joints, hands and face are in each frame: COCO-WholeBody-133, "
        "OpenPose or MediaPipe JSON, or a folder of OpenPose's files",
    )
    group.add_argument(
        "--models",
        metavar="DIR",
        type=Path,
        help="instead of --keypoints: a Wan2.2-Animate checkpoint, or its process_checkpoint, with "
        "the networks that find them: det/yolov10m.onnx and pose2d/vitpose_h_wholebody.onnx; in "
        "replace mode also sam2/*.onnx, see docs/preprocessing.md",
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
        help="with --retarget: the key points of --reference (default: found with --models)",
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
        choices=[_SAM2, _BOX],
        help="replace mode without --matte: cut the person out with SAM2, or take a generous box "
        "around the key points (default: sam2 with --models, else box)",
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
    from wan_trt.media import open_frames, read_image
    from wan_trt.media.read_ahead import ReadAhead
    from wan_trt.preprocess import PersonTracker, prepare, read_keypoints

    options = _options(arguments, frame_limit)
    networks = _networks(arguments)
    driver = ReadAhead(open_frames(video, field="video"))
    resources.callback(driver.close)
    matte = None
    if arguments.matte is not None:
        matte = open_frames(arguments.matte, field="matte")
        resources.callback(matte.close)
    reference = read_image(arguments.reference, field="reference")
    tracker = None
    if networks is not None and (arguments.keypoints is None or arguments.retarget):
        tracker = PersonTracker(networks.detector(), networks.pose())
    motion: KeypointTrack | PersonTracker
    if arguments.keypoints is not None:
        motion = read_keypoints(arguments.keypoints, driver, options.person)
    else:
        assert tracker is not None
        motion = tracker
    segmented = options.mode is Mode.REPLACE and matte is None and _mask_from(arguments) == _SAM2
    return prepare(
        reference,
        motion,
        driver,
        options,
        matte,
        outlines=networks.outlines() if segmented and networks is not None else None,
        figures=_figures(arguments) if arguments.retarget else None,
        tracker=tracker,
        on_progress=on_progress,
    )


def refuse_without_video(arguments: argparse.Namespace) -> None:
    """`generate` has these options for a driving video only."""
    for name in _DRIVER_FIELDS:
        if getattr(arguments, name) != arguments.parser.get_default(name):
            raise InputError(
                "given without --video",
                expected="a driving video that it is about",
                action="name the video, or leave it out",
                field=name,
            )


def _options(arguments: argparse.Namespace, frame_limit: int | None) -> Options:
    from wan_trt.cli.sizes import parse_size
    from wan_trt.preprocess import Options, PersonChoice

    person = PersonChoice() if arguments.person is None else PersonChoice(_place(arguments.person))
    options = Options(
        mode=Mode.ANIMATE if arguments.mode is None else Mode(arguments.mode),
        # (height, width)
        size=parse_size(arguments.size)[::-1] if arguments.size else None,
        rate=arguments.fps,
        frame_limit=frame_limit,
        face_size=arguments.face_size,
        person=person,
        smooth_points_s=arguments.smooth_points_s,
        smooth_faces_s=arguments.smooth_faces_s,
        **({} if arguments.area is None else {"area": arguments.area}),
    )
    _refuse_stray(arguments, options)
    return options


def _refuse_stray(arguments: argparse.Namespace, options: Options) -> None:
    """Options that would do nothing."""
    if arguments.size is not None and arguments.area is not None:
        raise InputError(
            f"{arguments.size} together with --area",
            expected="one of the two",
            action="leave one of them out",
            field="size",
        )
    without_retarget = ("reference_keypoints", "edited_driver", "edited_character")
    stray = [name for name in without_retarget if getattr(arguments, name) is not None]
    if stray and not arguments.retarget:
        raise InputError(
            "given without --retarget",
            expected="both, or none",
            action="add --retarget, or leave it out",
            field=stray[0],
        )
    if arguments.mask_from is not None and (
        options.mode is not Mode.REPLACE or arguments.matte is not None
    ):
        raise InputError(
            f"{arguments.mask_from}, where no mask is to be made",
            expected="replace mode without --matte",
            action="leave it out",
            field="mask_from",
        )


def _networks(arguments: argparse.Namespace) -> NetworkFolder | None:
    from wan_trt.preprocess.networks.folder import NetworkFolder
    from wan_trt.preprocess.networks.onnx_network import NetworkDevice

    if arguments.models is not None:
        device = NetworkDevice(getattr(arguments, "device", None) or NetworkDevice.CPU)
        return NetworkFolder.find(arguments.models, device)
    if arguments.keypoints is None or _mask_from(arguments) == _SAM2:
        what = "the person's key points" if arguments.keypoints is None else "SAM2"
        raise InputError(
            f"missing: nothing tells {what}",
            expected="a folder with the networks that do",
            action="give --models DIR (a checkpoint's process_checkpoint), "
            + ("or --keypoints FILE" if arguments.keypoints is None else "or --matte VIDEO"),
            field="models",
        )
    return None


def _mask_from(arguments: argparse.Namespace) -> str:
    return arguments.mask_from or (_BOX if arguments.models is None else _SAM2)


def _figures(arguments: argparse.Namespace) -> RetargetFigures:
    from wan_trt.preprocess import RetargetFigures

    character = arguments.reference_keypoints or arguments.reference
    return RetargetFigures(
        _seen(Path(character), "reference"),
        *(
            None if path is None else _seen(path, name)
            for name, path in (
                ("edited_driver", arguments.edited_driver),
                ("edited_character", arguments.edited_character),
            )
        ),
    )


def _seen(path: Path, field: str) -> Seen:
    from wan_trt.media import read_image
    from wan_trt.preprocess import read_keypoints

    return read_keypoints(path) if path.suffix.lower() == ".json" else read_image(path, field=field)


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
