"""The options that say what video to make, shared by `generate` and `submit`."""

from __future__ import annotations

import argparse

from wan_trt.engine.choices import RequestChoices, SamplingChoices
from wan_trt.engine.errors import InputError
from wan_trt.engine.request import Mode, SolverName

_VIDEO = """\
VIDEO is a video file, an image sequence (frames/%04d.png) or .safetensors with a tensor `frames`,
uint8 [T,H,W,3]"""


def add_request_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of every kind of request: which of them are needed, the bundle's model decides."""
    media = parser.add_argument_group("what the video shows")
    media.add_argument(
        "--reference",
        metavar="IMAGE",
        required=True,
        help="Animate: a picture of the character; image-to-video: the first frame; of any size",
    )
    media.add_argument(
        "--prompt",
        metavar="TEXT",
        help="what the video shows, in words (default: the model's own, in the bundle)",
    )
    media.add_argument(
        "--negative-prompt",
        metavar="TEXT",
        help="what it should not show; read only where --guidance is not 1 "
        "(default: the model's own)",
    )
    _add_animate_arguments(parser.add_argument_group("for Animate", _VIDEO))
    _add_image_to_video_arguments(parser.add_argument_group("for image-to-video"))
    _add_sampling_arguments(parser.add_argument_group("how it is made"))


def _add_animate_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--pose",
        metavar="VIDEO",
        help="drawn skeletons that show how to move; the video gets their size, which is in "
        "multiples of 16",
    )
    group.add_argument(
        "--face", metavar="VIDEO", help="square crops of the driving face, as long as --pose"
    )
    group.add_argument(
        "--mode",
        choices=[mode.value for mode in Mode],
        help="animate: the character moves in its own picture; replace: it takes a person's place "
        "in a scene (default: animate)",
    )
    group.add_argument(
        "--background", metavar="VIDEO", help="replace mode: the scene, the person in it black"
    )
    group.add_argument(
        "--mask",
        metavar="VIDEO",
        help="replace mode: white where the character goes, black elsewhere",
    )
    group.add_argument(
        "--segment-frames",
        metavar="N",
        type=int,
        help="frames that are made at a time, 4n+1; longer videos are made in several segments "
        "(default: 77)",
    )
    group.add_argument(
        "--overlap",
        metavar="1|5",
        type=int,
        help="frames that a segment takes over from the one before (default: 1)",
    )


def _add_image_to_video_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--last-frame", metavar="IMAGE", help="a picture that the video ends with")
    group.add_argument(
        "--frames", metavar="N", type=int, help="length of the video, 4n+1 (default: 81)"
    )
    group.add_argument(
        "--area",
        metavar="PIXELS",
        type=int,
        help="width times height of a frame, about; its aspect is the reference's "
        "(default: 921600, as 1280x720)",
    )


def _add_sampling_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--steps",
        metavar="N",
        type=int,
        help="denoising steps: more take longer and show more detail "
        "(default: 20, image-to-video 40)",
    )
    group.add_argument(
        "--solver",
        choices=[solver.value for solver in SolverName],
        help="how a step is made (default: unipc)",
    )
    group.add_argument(
        "--shift",
        metavar="X",
        type=float,
        help="more than 1 spends more of the steps on the composition, fewer on detail "
        "(default: 5)",
    )
    group.add_argument(
        "--guidance",
        metavar="G|HIGH,LOW",
        help="how strongly to follow the prompt, or the two experts' strengths; other than 1 "
        "takes twice the time (default: 1, image-to-video 3.5)",
    )
    beginning = group.add_mutually_exclusive_group()
    beginning.add_argument(
        "--seed",
        metavar="N",
        type=int,
        help="another number makes another video, the same one the same; it means the noise that "
        "the official code draws on an H100 (default: 0)",
    )
    beginning.add_argument(
        "--noise",
        metavar="FILE",
        help="the noise to start from, instead of a seed: .safetensors with float32 segment.K "
        "[16,F,h,w] for each segment K",
    )


def choices_from(arguments: argparse.Namespace) -> RequestChoices:
    """Raises InputError when the guidance is no number or pair of numbers."""
    return RequestChoices(
        prompt=arguments.prompt,
        negative_prompt=arguments.negative_prompt,
        sampling=SamplingChoices(
            steps=arguments.steps,
            solver=None if arguments.solver is None else SolverName(arguments.solver),
            shift=arguments.shift,
            guidance=None if arguments.guidance is None else parse_guidance(arguments.guidance),
        ),
        seed=arguments.seed,
        mode=None if arguments.mode is None else Mode(arguments.mode),
        segment_frames=arguments.segment_frames,
        overlap=arguments.overlap,
        frames=arguments.frames,
        area=arguments.area,
    )


def parse_guidance(text: str) -> tuple[float, float]:
    """G or HIGH,LOW. Raises InputError."""
    try:
        high, _, low = text.partition(",")
        return float(high), float(low or high)
    except ValueError:
        raise InputError(
            repr(text),
            expected="a number, or HIGH,LOW for the two experts",
            action="write it as in 3.5 or 3.5,2",
            field="guidance",
        ) from None
