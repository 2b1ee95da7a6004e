"""What conditioning hands to denoising; each kind of request has a Conditioning of its own.

The denoiser reads the outputs of context graphs. Which of them run, on which of the job's tensors,
is known from the request alone; a Conditioning fills those tensors, which stay where they are for
the whole job.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.segments import Segment
from wan_trt.engine.space import Tensor
from wan_trt.engine.stages.vae import Check

MASK_CHANNELS = 4

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class ContextRun:
    """One context graph on the job's tensors: `inputs` has their names by those of the graph's
    inputs. `varies`: each segment has values of its own.

    Guidance branches that hold the same object share the graph's outputs.
    """

    graph: str
    inputs: Mapping[str, str]
    varies: bool = False

    def output_name(self, output: str, weight_set: str) -> str:
        """What the job calls an output. What serves it throughout is kept for each weight set; of
        what varies there is one, overwritten when segment or expert change."""
        kept = "" if self.varies else f".{weight_set}"
        return f"{self.graph}({','.join(self.inputs.values())}){kept}.{output}"


Branch = tuple[ContextRun, ...]
"""All contexts of one guidance branch: what the prompt asks for, or what it asks against."""


@dataclass(frozen=True)
class Branches:
    """The guidance branches of a job. `unconditional` is None where no step is guided."""

    conditional: Branch
    unconditional: Branch | None = None


class Conditioning(Protocol):
    """The condition of one job."""

    def encode(self, segment: Segment, carried: NDArray[np.float32], check: Check) -> None:
        """Overwrite what varies by that of `segment`.

        `carried` holds the frames that the segment before hands over, float32
        [3, overlap, height, width]; meaningless in the first one.
        """
        ...
