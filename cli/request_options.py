"""The options that say what video to make, shared by `generate` and `submit`."""

from __future__ import annotations

import argparse

from wan_trt.engine.choices import RequestChoices, SamplingChoices
from wan_trt.engine.errors import InputError
from wan_trt.engine.request import Mode, SolverName

_VIDEO = "a video, an image sequence (name.%04d.png) or .safetensors with uint8 frames [T,H,W,3]"


def add_request_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of every kind of request: which of them are needed, the bundle's model decides."""
    media = parser.add_argument_group("what goes in", f"VIDEO is {_VIDEO}")
    media.add_argument(
        "--reference",
        metavar="IMAGE",
        required=True,
        help="the character, or for image-to-video the first frame; any size",
    )
    media.add_argument("--prompt", metavar="TEXT", help="default: the model's own, in the bundle")
    media.add_argument("--negative-prompt", metavar="TEXT", help="what guidance leads away from")
    media.add_argument(
        "--noise", metavar="FILE", help=".safetensors with float32 segment.K [16,F,h,w], no seed"
    )
    _add_animate_arguments(parser.add_argument_group("for Animate"))
    _add_image_to_video_arguments(parser.add_argument_group("for image-to-video"))
    _add_sampling_arguments(parser.add_argument_group("how it is made"))


def _add_animate_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--pose",
        metavar="VIDEO",
        help="drawn skeletons; their size is the output's (multiples of 16)",
    )
    group.add_argument("--face", metavar="VIDEO", help="square face crops")
    group.add_argument("--background", metavar="VIDEO", help="replace: the scene, person black")
    group.add_argument("--mask", metavar="VIDEO", help="replace: white where the person goes")
    group.add_argument("--mode", choices=[mode.value for mode in Mode], help="default: animate")
    group.add_argument("--segment-frames", type=int, help="frames of one pass, 4n+1 (default: 77)")
    group.add_argument(
        "--overlap",
        type=int,
        help="frames carried over to the next segment, 1 or 5 (default: 1)",
    )


def _add_image_to_video_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--last-frame", metavar="IMAGE", help="what the video ends with")
    group.add_argument("--frames", type=int, help="length of the video, 4n+1 (default: 81)")
    group.add_argument(
        "--area",
        metavar="PIXELS",
        type=int,
        help="about how large a frame is; its aspect is the reference's (default: 921600)",
    )


def _add_sampling_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--steps", type=int, help="denoising steps (default: 20, image-to-video 40)")
    group.add_argument(
        "--solver", choices=[solver.value for solver in SolverName], help="default: unipc"
    )
    group.add_argument("--shift", type=float, help="of the schedule (default: 5)")
    group.add_argument(
        "--guidance",
        metavar="G|HIGH,LOW",
        help="not 1: a second pass with the negative prompt, in Animate also without a face "
        "(default: 1, image-to-video 3.5)",
    )
    group.add_argument("--seed", type=int, default=0, help="of the noise (default: %(default)s)")


def choices_from(arguments: argparse.Namespace) -> RequestChoices:
    """Raises InputError when the guidance is no number or pair of numbers."""
    return RequestChoices(
        prompt=arguments.prompt,
        negative_prompt=arguments.negative_prompt,
        sampling=SamplingChoices(
            steps=arguments.steps,
            solver=None if arguments.solver is None else SolverName(arguments.solver),
            shift=arguments.shift,
            guidance=None if arguments.guidance is None else _guidance(arguments.guidance),
        ),
        seed=arguments.seed,
        mode=None if arguments.mode is None else Mode(arguments.mode),
        segment_frames=arguments.segment_frames,
        overlap=arguments.overlap,
        frames=arguments.frames,
        area=arguments.area,
    )


def _guidance(text: str) -> tuple[float, float]:
    try:
        high, _, low = text.partition(",")
        return float(high), float(low or high)
    except ValueError:
        raise InputError(
            f"guidance {text!r}",
            expected="a number, or HIGH,LOW for the two experts",
            field="--guidance",
        ) from None
