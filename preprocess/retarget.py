"""Retargeting: the driver's movements on a body with the limbs of the character.

The lengths of the limbs of two people are compared in one picture of each, in which both should
face the camera, upright, with their limbs stretched out. Every frame's skeleton is then rebuilt
from the neck outward: each limb keeps its direction and gets the other's length.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.errors import InputError
from wan_trt.preprocess.completed_limbs import completed
from wan_trt.preprocess.limbs import LIMBS
from wan_trt.preprocess.poses import PoseTrack
from wan_trt.preprocess.retargeted_hands import retargeted_hands

_NOSE, _NECK = 0, 1
_HIPS, _ANKLES = (8, 11), (10, 13)
_TOES = (19, 18)  # right, left: as the ankles
_HEAD = (0, 14, 15, 16, 17)
_RIGHT_SHOULDER, _LEFT_SHOULDER = 2, 5
# Limbs by their index in LIMBS.
_SHOULDER_LIMBS = (0, 1)
_SIDES = ((0, 1), (2, 4), (3, 5), (6, 9), (7, 10), (8, 11), (17, 18))
_FACE_SIDES = ((13, 15), (14, 16))
# (foot, calf): a foot is at most half as long as its calf.
_FEET = ((18, 8), (17, 11))
_LONGEST_FOOT = 0.5
# A height is measured between joints above the first, a part of the body shows from the second on.
_MEASURED_ABOVE, _SHOWN_FROM = 0.5, 0.4

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
        return float(self.height * abs((y[joints[0]] + y[joints[1]]) / 2 - y[_NOSE]))

    def shows(self, *joints: int) -> bool:
        """All of them found, and not below the picture."""
        chosen = self.joints[list(joints)]
        return bool((chosen[:, 1] <= 1).all() and (chosen[:, 2] >= _SHOWN_FROM).all())

    @property
    def extent(self) -> Extent:
        if self.shows(*_ANKLES, *_HIPS):
            return Extent.FULL
        return Extent.THREE_QUARTER if self.shows(*_HIPS) else Extent.HALF


@dataclass(frozen=True)
class Retargeting:
    """What changes from the driver's skeleton to the character's.

    `ratios` [19] multiply the limbs; `removed` [20] marks joints that one of the two lacks;
    `offset` (x, y) is then taken away and all divided by `scale`, which gives pixels of the
    `width` x `height` picture of the character. `anchor_x` is where the driver's first frame is
    meant to stand, by its hips (FULL), its neck (HALF), or not at all.
    """

    width: int
    height: int
    scale: float
    ratios: NDArray[np.float64]
    removed: NDArray[np.bool_]
    offset: tuple[float, float]
    anchor_x: float
    extent: Extent


def retargeting(
    driver: Figure, character: Figure, edited: tuple[Figure, Figure] | None = None
) -> Retargeting:
    """How to retarget from `driver`, in the first frame of its video, to `character`.

    `edited` are the two in standard poses (upstream lets an image model redraw them): limbs are
    then measured there. As upstream (`retarget_pose`), but that a joint of score 0 is one that
    upstream has no word for. Raises InputError where a neck, thus a shoulder, is not found.
    """
    for field, figure in (("driver", driver), ("reference", character)):
        if figure.missing[_NECK]:
            raise InputError(
                "both shoulders are not to be seen",
                expected="a person whose limbs can be measured",
                action="use another picture, or do not retarget",
                field=field,
            )
    scale, _ = _scale(driver, character)
    scaled = character.scaled(scale)
    extent = min(scaled.extent, driver.extent)
    if edited is None:
        from_figure, to_figure = driver.completed(), scaled.completed()
        factor = 1.0
        measured = (from_figure, to_figure)
    else:
        from_figure, to_figure = driver, scaled
        factor = _edit_factor(driver, character, edited)
        measured = (
            edited[0].completed(),
            edited[1].scaled(_scale(*edited)[0]).completed(),
        )
    ratios = _evened(_ratios(*measured, factor))
    removed = from_figure.missing | to_figure.missing
    moved = rebuilt(driver.in_pixels[None], ratios)[0]
    offset, anchor_x = _offset(moved, to_figure, extent, removed)
    return Retargeting(
        character.width, character.height, scale, ratios, removed, offset, anchor_x, extent
    )


def retarget(poses: PoseTrack, how: Retargeting) -> PoseTrack:
    """The poses of a driver on the character's body, in its picture; no face.

    Hands are scaled with the shoulders and put to the wrists; without a wrist they are left out.
    """
    size = np.array([poses.width, poses.height, 1.0])
    source = poses.body * size
    source[:, how.removed] = 0
    limits = _foot_limits(source, how.ratios)
    body = rebuilt(source, how.ratios, limits)
    offsets = np.tile(how.offset, (poses.count, 1))
    offsets[0, 0] += _first_frame_shift(body[0], how)
    body[..., :2] = (body[..., :2] - offsets[:, None]) / how.scale
    found = body[..., 2:] > 0
    body = np.where(found, body, 0.0)
    hand_ratio = float(max(how.ratios[limb] for limb in _SHOULDER_LIMBS)) / how.scale
    hands = poses.left_hand * size, poses.right_hand * size
    left, right = retargeted_hands(source, body, hands, hand_ratio, (poses.width, poses.height))
    shape = np.array([how.width, how.height, 1.0])
    face = np.zeros_like(poses.face)
    return PoseTrack(
        how.width, how.height, poses.rate, body / shape, left / shape, right / shape, face
    )


def rebuilt(
    joints: NDArray[np.float64],
    ratios: NDArray[np.float64],
    limits: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Skeletons [frames, 20, 3] in pixels with the limbs `ratios` [19] times as long.

    A limb's factor in a frame is at most `limits` [frames, 19]. A joint stays where it is when the
    one its limb starts from is missing.
    """
    factors = np.broadcast_to(ratios, (len(joints), len(LIMBS)))
    if limits is not None:
        factors = np.minimum(factors, limits)
    moved = joints.copy()
    for limb, (start, end) in enumerate(LIMBS):
        both = (joints[:, start, 2] > 0) & (joints[:, end, 2] > 0)
        vector = joints[:, end, :2] - joints[:, start, :2]
        place = moved[:, start, :2] + factors[:, limb, None] * vector
        moved[both, end, :2] = place[both]
    return moved


def _scale(driver: Figure, character: Figure) -> tuple[float, bool]:
    """How much larger the driver is in its picture, and whether that was measured on the bodies."""
    for lower in (_ANKLES, _HIPS):
        ends = [_NOSE, *lower]
        if all((f.joints[ends, 2] > _MEASURED_ABOVE).all() for f in (driver, character)):
            below = character.height_above(lower)
            if below > 0:
                return driver.height_above(lower) / below, True
    return np.sqrt(driver.height * driver.width) / np.sqrt(
        character.height * character.width
    ), False


def _edit_factor(driver: Figure, character: Figure, edited: tuple[Figure, Figure]) -> float:
    """What to multiply ratios by because the image model changed the size of the two people.

    Heads and shoulders tell, where heights could not be measured in the edited pictures.
    """
    if _scale(*edited)[1]:
        return 1.0
    return _growth(character, edited[1]) / _growth(driver, edited[0])


def _growth(original: Figure, edited: Figure) -> float:
    def head(figure: Figure) -> float:
        return float(np.ptp(figure.joints[list(_HEAD), 0]))

    def shoulders(figure: Figure) -> float:
        joints = figure.in_pixels
        return float(np.hypot(*(joints[_LEFT_SHOULDER] - joints[_RIGHT_SHOULDER])[:2]))

    return max(
        _quotient(head(original), head(edited)), _quotient(shoulders(original), shoulders(edited))
    )


def _quotient(one: float, other: float) -> float:
    return one / other if other > 0 else 1.0


def _ratios(driver: Figure, character: Figure, factor: float) -> NDArray[np.float64]:
    """[19]; a limb that cannot be measured takes the mean of the shoulders', or 1."""
    ours, theirs = driver.lengths(), character.lengths()
    measured = (ours > 0) & (theirs > 0)
    ratios = np.divide(theirs * factor, ours, out=np.full(len(LIMBS), np.nan), where=measured)
    shoulders = float(ratios[list(_SHOULDER_LIMBS)].mean())
    return np.where(measured, ratios, 1.0 if np.isnan(shoulders) else shoulders)


def _evened(ratios: NDArray[np.float64]) -> NDArray[np.float64]:
    """Left and right alike: the larger of the two, in the face their mean."""
    evened = ratios.copy()
    for pair in _SIDES:
        evened[list(pair)] = ratios[list(pair)].max()
    for pair in _FACE_SIDES:
        evened[list(pair)] = ratios[list(pair)].mean()
    return evened


def _foot_limits(joints: NDArray[np.float64], ratios: NDArray[np.float64]) -> NDArray[np.float64]:
    """[frames, 19] largest factors: those that keep feet within half of their calf."""
    limits = np.full((len(joints), len(LIMBS)), np.inf)

    def lengths(limb: int) -> NDArray[np.float64]:
        start, end = LIMBS[limb]
        both = (joints[:, start, 2] > 0) & (joints[:, end, 2] > 0)
        vector = joints[:, end, :2] - joints[:, start, :2]
        return np.where(both, np.hypot(vector[:, 0], vector[:, 1]), 0.0)

    for foot, calf in _FEET:
        feet, calves = lengths(foot), lengths(calf)
        longest = _LONGEST_FOOT * ratios[calf] * calves
        np.divide(longest, feet, out=limits[:, foot], where=(feet > 0) & (calves > 0))
    return limits


def _offset(
    moved: Joints, character: Figure, extent: Extent, removed: NDArray[np.bool_]
) -> tuple[tuple[float, float], float]:
    """What to move the driver's skeleton by so that feet, or else necks, come together; and x."""
    if extent is not Extent.FULL:
        neck = character.in_pixels[_NECK]
        x, y = moved[_NECK, :2]
        return (float(x - neck[0]), float(y - neck[1])), float(x)
    theirs = character.joints
    ground = max(theirs[ankle, 1] for ankle in _ANKLES)
    if not removed[list(_TOES)].any():
        pairs = zip(_ANKLES, _TOES, strict=True)
        ground = max((theirs[ankle, 1] + theirs[toe, 1]) / 2 for ankle, toe in pairs)
    x = float(moved[list(_HIPS), 0].sum() / 2)
    hips = float(theirs[list(_HIPS), 0].sum() * character.width / 2)
    y = float(max(moved[ankle, 1] for ankle in _ANKLES))
    return (x - hips, y - float(ground * character.height)), x


def _first_frame_shift(first: Joints, how: Retargeting) -> float:
    """How far the first frame stands from the anchor. Upstream corrects that frame alone."""
    match how.extent:
        case Extent.FULL if (first[list(_HIPS), 2] > 0).all():
            return float(first[list(_HIPS), 0].sum() / 2) - how.anchor_x
        case Extent.HALF if first[_NECK, 2] > 0:
            return float(first[_NECK, 0]) - how.anchor_x
        case _:
            return 0.0
