"""What conditioning hands to denoising; each kind of request has a Conditioning of its own.

The denoiser reads the outputs of context graphs. A Conditioning says what those graphs are run on,
in arrays that stay where they are for the whole job; `encode` fills them for one segment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.segments import Segment
from wan_trt.engine.stages.vae import Check

MASK_CHANNELS = 4

Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class ContextInputs:
    """The inputs of one context graph by name; `varies`: each segment has values of its own.

    Guidance branches that hold the same object share the graph's outputs.
    """

    graph: str
    tensors: Tensors
    varies: bool = False


Branch = tuple[ContextInputs, ...]
"""All contexts of one guidance branch: what the prompt asks for, or what it asks against."""


class Conditioning(Protocol):
    """The condition of one job. `unconditional` is None where no step is guided."""

    @property
    def conditional(self) -> Branch: ...

    @property
    def unconditional(self) -> Branch | None: ...

    def encode(self, segment: Segment, carried: NDArray[np.float32], check: Check) -> None:
        """Overwrite what varies by that of `segment`.

        `carried` holds the frames that the segment before hands over, float32
        [3, overlap, height, width]; meaningless in the first one.
        """
        ...
