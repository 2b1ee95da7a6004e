"""Where the missing ends of arms and legs would be, so that limbs can be compared."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# From the body outward.
_CHAINS = ((2, 3, 4), (5, 6, 7), (11, 12, 13, 18), (8, 9, 10, 19))
_LEFT = ((2, 3), (3, 4), (11, 12), (12, 13), (13, 18))
_RIGHT = ((5, 6), (6, 7), (8, 9), (9, 10), (10, 19))
_ARM_PARTS, _FOOT = 2, 4
_NECK, _RIGHT_HIP, _LEFT_HIP = 1, 8, 11


def completed(joints: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """`joints` [20, 3], as parts of the picture, with missing ends put straight below.

    What lies beyond a missing joint is not believed. A limb without its end gets the length of the
    same limb on the other side, or one derived from the trunk: all of it for thighs and calves,
    half for parts of an arm, a fifth for a foot (of the left half of the trunk only: upstream).
    New joints have score 1; joints of limbs without a start stay missing.
    """
    joints = joints.copy()
    for chain in _CHAINS:
        missing = False
        for joint in chain:
            missing = missing or joints[joint, 2] == 0
            if missing:
                joints[joint] = 0
    size = np.array([width, height])

    def found(*wanted: int) -> bool:
        return bool((joints[list(wanted), 2] > 0).all())

    def distance(first: int, second: int) -> float:
        if not found(first, second):
            return 0.0
        return float(np.hypot(*((joints[first, :2] - joints[second, :2]) * size)))

    for side, other in ((_LEFT, _RIGHT), (_RIGHT, _LEFT)):
        for part, (start, end) in enumerate(side):
            if not found(start) or found(end):
                continue
            length = distance(*other[part])
            if not found(*other[part]):
                shares = (0.5, 0.5) if part < _ARM_PARTS else (1.0, 0.2 if part == _FOOT else 1.0)
                trunks = (distance(_NECK, _RIGHT_HIP), distance(_NECK, _LEFT_HIP))
                length = max(a * b for a, b in zip(shares, trunks, strict=True))
            if length > 0:
                joints[end] = (joints[start, 0], joints[start, 1] + length / height, 1.0)
    return joints
