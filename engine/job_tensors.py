"""What a running job holds in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.backend import StepTensors, Update
from wan_trt.engine.memory.tensors import Holding
from wan_trt.engine.space import Tensor
from wan_trt.engine.stages.conditioning import Conditioning
from wan_trt.engine.stages.denoise import Denoiser


@dataclass
class JobTensors:
    """None of it grows with the number of segments.

    All of it but `carried` lies in one piece of the backend's memory. `carried` is the tail of the
    segment before, float32 [3, overlap, height, width]; nothing in the first segment.
    """

    conditioning: Conditioning
    denoiser: Denoiser
    update: Update
    holding: Holding
    carried: NDArray[np.float32]

    @property
    def step(self) -> StepTensors[Tensor]:
        """Latents, velocities and the solver's history."""
        return self.denoiser.step

    def close(self) -> None:
        """Give the memory back, once nothing uses it any more."""
        self.holding.close()
        self.update.close()
