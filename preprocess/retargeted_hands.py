"""Hands that follow retargeted wrists."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_RIGHT_WRIST, _LEFT_WRIST = 4, 7
_SEEN_FROM = 0.4
# Keeps a whole pixel the same one when it is divided by the picture's width and multiplied again.
_INSIDE_PX = 1e-6

Points = NDArray[np.float64]


def retargeted_hands(
    source: Points,
    moved: Points,
    hands: tuple[Points, Points],
    ratio: float,
    size: tuple[int, int],
) -> tuple[Points, Points]:
    """(left, right) hands [frames, 21, 3] in whole pixels of the character's picture.

    `source` and `moved` are the bodies [frames, 20, 3] before and after, `hands` the driver's left
    and right one, all in pixels of its picture of `size` (width, height); `ratio` scales a hand
    about its root. A hand's root is put on the wrist. Where a detector exchanged the two hands (the
    right root is nearer to the left wrist) they change places; upstream does so too for a right
    hand without a root, which it takes to lie far to the left and above. The two names are
    exchanged throughout, as upstream has it, which no drawing shows. Points below a score of 0.4,
    and hands without a wrist, are missing.
    """
    left, right = (_scaled(hand, ratio) for hand in hands)
    at_right, at_left = np.zeros_like(right), np.zeros_like(left)
    for frame in range(len(source)):
        before, after = source[frame], moved[frame]
        wrists = [after[wrist, 2] > 0 for wrist in (_RIGHT_WRIST, _LEFT_WRIST)]
        if not any(wrists):
            continue
        shift_right = _shift(before, after, _RIGHT_WRIST, right[frame], both=all(wrists))
        shift_left = _shift(before, after, _LEFT_WRIST, left[frame], both=all(wrists))
        first, second = right[frame], left[frame]
        if all(wrists) and _exchanged(before, first[0], size):
            first, second = second, first
        if wrists[0]:
            at_right[frame] = _moved(first, shift_right)
        if wrists[1]:
            at_left[frame] = _moved(second, shift_left)
    return at_right, at_left


def _scaled(hand: Points, ratio: float) -> Points:
    scaled = hand.copy()
    root = hand[:, :1, :2]
    scaled[..., :2] = root + (hand[..., :2] - root) * ratio
    return np.where(hand[..., 2:] < _SEEN_FROM, 0.0, scaled)


def _shift(before: Points, after: Points, wrist: int, hand: Points, *, both: bool) -> Points:
    """To the new wrist: from the hand's root, or from the old wrist where that is not known."""
    start = hand[0] if both and hand[0, 2] > 0 else before[wrist]
    shift: Points = after[wrist, :2] - start[:2]
    return shift


def _exchanged(before: Points, right_root: Points, size: tuple[int, int]) -> bool:
    root = right_root[:2] if right_root[2] > 0 else -np.array(size)
    own, other = (
        float(np.hypot(*(before[wrist, :2] - root))) for wrist in (_RIGHT_WRIST, _LEFT_WRIST)
    )
    return own > other


def _moved(hand: Points, shift: Points) -> Points:
    moved = hand.copy()
    places = np.trunc(hand[:, :2] + shift)
    moved[:, :2] = places + np.copysign(_INSIDE_PX, places)
    return np.where(hand[:, 2:] == 0, 0.0, moved)
