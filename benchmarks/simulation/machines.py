"""What units take on machines that were not at hand: computed, not measured.

Seconds are operations at plausible shares of the dense peak: matrix products 75 % in bfloat16 and
65 % in FP8, attention 60 % in bfloat16, the VAE 30 % in TF32. What others published of an H100 in
bfloat16 is 2.6 s (832x480) and 10 to 13 s (1280x720) for a step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wan_trt.engine.geometry import FaceGeometry, Geometry, ImageGeometry
from wan_trt.engine.memory.footprint import VideoSize
from wan_trt.engine.request import ExpertName
from wan_trt.engine.scheduling.costs import CostKey
from wan_trt.engine.scheduling.unit import Stage

SMALL = VideoSize(480, 832, 77)
LARGE = VideoSize(720, 1280, 77)

ANIMATE_14B = Geometry(
    dim=5120,
    heads=40,
    layers=40,
    text_dim=4096,
    text_tokens=512,
    image=ImageGeometry(dim=1280, tokens=257, size=224),
    face=FaceGeometry(layers=8, size=512, motion_dim=512),
)
DECODING = 0.455  # of a segment's VAE operations; the rest is encoding


@dataclass(frozen=True)
class Machine:
    """`pass_s` are seconds of a pass of a stage at a size. `load_s` is what an expert takes to come
    where one is resident, None where both are; `prefetched` is the share of it that has room
    beside the other."""

    name: str
    precision: str
    pass_s: Mapping[tuple[Stage, VideoSize], float]
    load_s: float | None = None
    prefetched: float = 0.0

    def key(self, size: VideoSize, stage: Stage, expert: ExpertName | None) -> CostKey:
        engine = f"denoiser.{expert.value}" if expert else "vae"
        return CostKey(stage, engine, size, self.precision, self.name)

    def seconds(self, key: CostKey) -> float:
        return self.pass_s[key.stage, key.size]


def _pass_s(
    step_s: Mapping[VideoSize, float], vae_s: Mapping[VideoSize, float]
) -> dict[tuple[Stage, VideoSize], float]:
    """`step_s` are seconds of a denoising step, `vae_s` those of a segment's coding."""
    return {
        **{(Stage.DENOISE, size): seconds for size, seconds in step_s.items()},
        **{(Stage.CONDITIONING, size): (1 - DECODING) * vae_s[size] for size in vae_s},
        **{(Stage.DECODE, size): DECODING * vae_s[size] for size in vae_s},
    }


_H100_VAE = {SMALL: 3.9, LARGE: 9.0}
_H100_FP8 = _pass_s({SMALL: 2.2, LARGE: 9.4}, _H100_VAE)
_H100_BF16 = _pass_s({SMALL: 2.6, LARGE: 10.5}, _H100_VAE)
_L40S_FP8 = _pass_s({SMALL: 5.9, LARGE: 25.7}, {SMALL: 10.5, LARGE: 24.0})
_FP8_GB, _BF16_GB = 17.6, 34.55

MACHINES = (
    Machine("H100, FP8, both experts", "fp8", _H100_FP8),
    # Experts of 34.55 GB each: one at a time, the other in the host's memory behind PCIe 5.
    Machine(
        "H100, BF16, one expert",
        "bf16",
        _H100_BF16,
        load_s=_BF16_GB / 50,
        prefetched=0.5,
    ),
    # One set of weights for both experts, as Animate has without LoRAs.
    Machine("L40S, FP8, both experts", "fp8", _L40S_FP8),
    Machine(
        "L40S, FP8, one expert",
        "fp8",
        _L40S_FP8,
        load_s=_FP8_GB / 25,
        prefetched=10 / _FP8_GB,
    ),
    Machine(
        "L40S, FP8, one expert from disk",
        "fp8",
        _L40S_FP8,
        load_s=_FP8_GB / 3,
        prefetched=10 / _FP8_GB,
    ),
)
