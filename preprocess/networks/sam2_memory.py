"""What SAM2 remembers of a video: which frames a frame is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_POINTER_PARTS = 4
_POINTERS = 15
"""Frames before the present one whose object pointers are used, prompted ones apart."""


@dataclass(frozen=True)
class FrameMemory:
    """What one frame leaves behind.

    `features` [1, channels, rows, columns] and `positions` [rows * columns, 1, channels] are of the
    masked picture, `pointer` [1, 4 * channels] is of the object. `temporal` [n, 1, 1, channels] is
    the same for every frame: how long ago it was, the last row for prompted frames.
    """

    features: NDArray[np.float32]
    positions: NDArray[np.float32]
    temporal: NDArray[np.float32]
    pointer: NDArray[np.float32]


class Sam2Memory:
    """The memories of one video: all frames with prompts, and the last few others.

    A frame is compared with every prompted frame, later ones too, with the n - 1 frames before it
    (n rows of `temporal`, 7 in SAM2), and with the object's pointers of the prompted frames before
    it and the 15 last ones.
    """

    def __init__(self, prompted: Mapping[int, FrameMemory]) -> None:
        self._prompted = dict(sorted(prompted.items()))
        self._recent: dict[int, FrameMemory] = {}

    def add(self, frame: int, memory: FrameMemory) -> None:
        """Remember a frame without prompts."""
        self._recent[frame] = memory
        self._recent.pop(frame - _POINTERS, None)

    def inputs_for(self, frame: int) -> dict[str, NDArray[np.float32]]:
        """The memory's inputs of the attention: pointers `memory_0` [m, 4 * channels], features
        `memory_1` [k, channels, rows, columns], and `memory_pos_embed` [k * rows * columns + 4 m,
        1, channels]."""
        prompted = list(self._prompted.values())
        temporal = prompted[0].temporal
        used = [(memory, temporal[-1]) for memory in prompted]
        for ago in range(len(temporal) - 1, 0, -1):
            memory = self._recent.get(frame - ago)
            if memory is not None:
                used.append((memory, temporal[ago - 1]))
        pointers = [m.pointer for index, m in self._prompted.items() if index < frame]
        ages = range(1, _POINTERS + 1)
        pointers += [
            self._recent[frame - ago].pointer for ago in ages if frame - ago in self._recent
        ]
        positions = [memory.positions + when for memory, when in used]
        channels = temporal.shape[-1]
        blank = np.zeros((_POINTER_PARTS * len(pointers), 1, channels), dtype=np.float32)
        return {
            "memory_0": np.concatenate(pointers),
            "memory_1": np.concatenate([memory.features for memory, _ in used]),
            "memory_pos_embed": np.concatenate([*positions, blank]),
        }
