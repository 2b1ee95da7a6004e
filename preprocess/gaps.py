"""What to use for a frame in which something was not found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def stand_ins(found: Sequence[bool] | NDArray[np.bool_]) -> list[int] | None:
    """For each frame the index of the frame whose finding to use.

    A frame with a finding uses its own; another the last one before it; frames before the first
    finding use the first. None when nothing was found in any frame. Example: no, yes, no, yes ->
    1, 1, 1, 3.

    This is a rule of ours: upstream has none and fails, or cuts out a meaningless place.
    """
    if not any(found):
        return None
    latest = next(index for index, present in enumerate(found) if present)
    indices = []
    for index, present in enumerate(found):
        if present:
            latest = index
        indices.append(latest)
    return indices
