"""Lanes: what may run at the same time. Each has its own stages, and its own graphs.

    denoising   denoise                           denoiser and contexts
    coding      conditioning, decode, result      encoders and VAE

Units of different jobs run side by side in two lanes, one at a time in each. A job has one unit
out, in one lane. A backend on which two units cannot run at a time has one lane, for every stage.
"""

from __future__ import annotations

from enum import StrEnum

from wan_trt.engine.models import CODING_GRAPHS
from wan_trt.engine.scheduling.unit import Stage


class Lane(StrEnum):
    """EVERY is both others at once: no unit runs beside its own."""

    EVERY = "every"
    DENOISING = "denoising"
    CODING = "coding"

    @property
    def stages(self) -> frozenset[Stage]:
        return _STAGES[self]

    @property
    def parts(self) -> tuple[Lane, ...]:
        """The lanes that whoever steps this one occupies, always in this order."""
        return APART if self is Lane.EVERY else (self,)


APART = (Lane.DENOISING, Lane.CODING)
TOGETHER = (Lane.EVERY,)

_STAGES = {
    Lane.EVERY: frozenset(Stage),
    Lane.DENOISING: frozenset({Stage.DENOISE}),
    Lane.CODING: frozenset(Stage) - {Stage.DENOISE},
}


def lane_of(stage: Stage) -> Lane:
    """The narrowest lane that has a stage."""
    return Lane.DENOISING if stage is Stage.DENOISE else Lane.CODING


def lane_of_graph(graph: str) -> Lane:
    """The one lane that runs a graph: so no graph is loaded twice, or launched from two threads."""
    return Lane.CODING if graph in CODING_GRAPHS else Lane.DENOISING
