"""A person in one picture, to be measured."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wan_trt.preprocess.completed_limbs import completed
from wan_trt.preprocess.limbs import LIMBS
from wan_trt.preprocess.poses import PoseTrack

NOSE: Final = 0
HIPS: Final = (8, 11)
ANKLES: Final = (10, 13)
# Part of the body shows from this score on.
_SHOWN_FROM = 0.4

Joints = NDArray[np.float64]
"""[20, 3] of (x, y, score); score 0 means missing."""


class Extent(IntEnum):
    """How much of a body is in the picture."""

    HALF = 0
    THREE_QUARTER = 1
    FULL = 2


@dataclass(frozen=True)
class Figure:
    """One person in one picture: `joints` [20, 3] as parts of its `width` and `height`."""

    width: int
    height: int
    joints: Joints

    @classmethod
    def of(cls, poses: PoseTrack, frame: int) -> Figure:
        return cls(poses.width, poses.height, poses.body[frame])

    @property
    def in_pixels(self) -> Joints:
        return np.asarray(self.joints * np.array([self.width, self.height, 1.0]))

    @property
    def missing(self) -> NDArray[np.bool_]:
        """[20], True for the joints that were not found."""
        return np.asarray(self.joints[:, 2] == 0)

    def scaled(self, factor: float) -> Figure:
        """In a picture `factor` times as large, its sides cut to whole pixels (upstream)."""
        width, height = int(self.width * factor), int(self.height * factor)
        return replace(self, width=width, height=height)

    def completed(self) -> Figure:
        """With missing ends of arms and legs put where they would hang; see `completed`."""
        return replace(self, joints=completed(self.joints, self.height, self.width))

    def lengths(self) -> NDArray[np.float64]:
        """[19] pixels of each limb, NaN where an end is missing."""
        joints, starts, ends = self.in_pixels, [a for a, _ in LIMBS], [b for _, b in LIMBS]
        lengths = np.hypot(*(joints[starts] - joints[ends])[:, :2].T)
        return np.where(self.missing[starts] | self.missing[ends], np.nan, lengths)

    def height_above(self, joints: tuple[int, int]) -> float:
        """Pixels that the nose is above the middle of two joints (or below)."""
        y = self.joints[:, 1]
        return float(self.height * abs((y[joints[0]] + y[joints[1]]) / 2 - y[NOSE]))

    def shows(self, *joints: int) -> bool:
        """All of them found, and not below the picture."""
        chosen = self.joints[list(joints)]
        return bool((chosen[:, 1] <= 1).all() and (chosen[:, 2] >= _SHOWN_FROM).all())

    @property
    def extent(self) -> Extent:
        if self.shows(*ANKLES, *HIPS):
            return Extent.FULL
        return Extent.THREE_QUARTER if self.shows(*HIPS) else Extent.HALF
