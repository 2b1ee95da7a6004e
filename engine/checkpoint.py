"""Where a job can be taken up again after its process has ended: plain values, no devices.

What follows from the request is not kept: prompts, pictures and the segment's condition are
encoded again, and noise is drawn again from the seed. What does not is here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.cursor import Cursor


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """`cursor` is the next unit of work, `tensors` what it and those after it need, all float32:

    carried                  [3, overlap, height, width]: what the segment before hands over
    latents                  [16, F, h, w]: where steps of the segment are done
    sample, newest, older    the same: the solver's history, where more steps are to come
    """

    cursor: Cursor
    tensors: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors.values())


class Checkpoints(Protocol):
    """Keeps the newest checkpoint of one job, and whether somebody is at work on it."""

    @property
    def every_steps(self) -> int:
        """Denoising steps from one checkpoint to the next; 0: only where a segment ends."""
        ...

    @property
    def suspected(self) -> bool:
        """Whether a process died at work on it since the checkpoint before: units of the job then
        run alone, so that no other is blamed for the next death."""
        ...

    def begin_work(self) -> None:
        """A unit of work begins. Raises as `save` does."""
        ...

    def end_work(self) -> None:
        """The unit is over, however it went, and what it brought forth is kept. Never raises."""
        ...

    def save(self, checkpoint: Checkpoint) -> None:
        """Keep `checkpoint` and all frames that the sink was given before it, then forget the one
        before. May be called again with the same one.

        Raises StorageFullError when there is no room now: the job waits and tries again. Any other
        error ends the job.
        """
        ...
