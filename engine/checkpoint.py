"""Where a job can be taken up again after its process has ended: plain values, no devices.

What follows from the request is not kept: prompts, pictures and the segment's condition are
encoded again, and noise is drawn again from the seed. What does not is here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.cursor import Cursor


@dataclass(frozen=True, eq=False)
class SamplerState:
    """The middle of a segment: the sample and what the solver remembers (see `solver.History`),
    all float32 of the latents' shape [16, F, h, w]; `models` newest first."""

    latents: NDArray[np.float32]
    sample: NDArray[np.float32] | None
    models: tuple[NDArray[np.float32], ...]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """`cursor` is the next unit of work.

    `carried` is what the segment before hands over, float32 [3, overlap, height, width]; None in
    the first segment, and once the last is decoded. `sampler` is None where a segment begins.
    """

    cursor: Cursor
    carried: NDArray[np.float32] | None = None
    sampler: SamplerState | None = None


class Checkpoints(Protocol):
    """Keeps the newest checkpoint of one job."""

    @property
    def every_steps(self) -> int:
        """Denoising steps from one checkpoint to the next; 0: only where a segment ends."""
        ...

    def save(self, checkpoint: Checkpoint) -> None:
        """Keep `checkpoint` and all frames that the sink was given before it, then forget the one
        before. May be called again with the same one.

        Raises StorageFullError when there is no room now: the job waits and tries again. Any other
        error ends the job.
        """
        ...
