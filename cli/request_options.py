"""The options that say what video to make, shared by `generate` and `submit`."""

from __future__ import annotations

import argparse

from wan_trt.engine.errors import InputError
from wan_trt.engine.request import Mode, Sampling, SolverName

_VIDEO = "a video, an image sequence (name.%%04d.png) or .safetensors with uint8 frames [T,H,W,3]"


def add_request_arguments(parser: argparse.ArgumentParser) -> None:
    media = parser.add_argument_group("what goes in", f"VIDEO is {_VIDEO}".replace("%%", "%"))
    media.add_argument(
        "--reference", metavar="IMAGE", required=True, help="the character; any size"
    )
    media.add_argument(
        "--pose",
        metavar="VIDEO",
        required=True,
        help="drawn skeletons; their size is the output's (multiples of 16)",
    )
    media.add_argument("--face", metavar="VIDEO", required=True, help="square face crops")
    media.add_argument("--background", metavar="VIDEO", help="replace: the scene, person black")
    media.add_argument("--mask", metavar="VIDEO", help="replace: white where the person goes")
    media.add_argument(
        "--mode", choices=[mode.value for mode in Mode], default="animate", help="default: animate"
    )
    media.add_argument("--prompt", metavar="TEXT", help="default: the model's own, in the bundle")
    media.add_argument("--negative-prompt", metavar="TEXT", help="used with guidance above 1 only")
    how = parser.add_argument_group("how it is made")
    how.add_argument("--steps", type=int, default=20, help="denoising steps (default: %(default)s)")
    how.add_argument(
        "--solver",
        choices=[solver.value for solver in SolverName],
        default=SolverName.UNIPC.value,
        help="default: %(default)s",
    )
    how.add_argument("--shift", type=float, default=5.0, help="of the schedule (default: 5)")
    how.add_argument(
        "--guidance",
        metavar="G|HIGH,LOW",
        default="1",
        help="above 1: a second pass with the negative prompt and no face (default: %(default)s)",
    )
    how.add_argument("--seed", type=int, default=0, help="of the noise (default: %(default)s)")
    how.add_argument(
        "--noise", metavar="FILE", help=".safetensors with float32 segment.K [16,F,h,w], no seed"
    )
    how.add_argument(
        "--segment-frames", type=int, default=77, help="frames of one pass, 4n+1 (default: 77)"
    )
    how.add_argument(
        "--overlap",
        type=int,
        default=1,
        help="frames that carry over to the next segment, 1 or 5 (default: %(default)s)",
    )


def sampling_from(arguments: argparse.Namespace) -> Sampling:
    """Raises InputError when the guidance is no number or pair of numbers."""
    return Sampling(
        steps=arguments.steps,
        solver=SolverName(arguments.solver),
        shift=arguments.shift,
        guidance=_guidance(arguments.guidance),
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
