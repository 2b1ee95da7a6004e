"""What fills the tensors that context graphs read; each kind of request has one of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.segments import Segment
from wan_trt.engine.space import Tensor
from wan_trt.engine.stages.vae import Check

MASK_CHANNELS = 4

Tensors = Mapping[str, Tensor]


class Conditioning(Protocol):
    """The condition of one job."""

    def encode(self, segment: Segment, carried: NDArray[np.float32], check: Check) -> None:
        """Overwrite what varies by that of `segment`.

        `carried` holds the frames that the segment before hands over, float32
        [3, overlap, height, width]; meaningless in the first one.
        """
        ...
