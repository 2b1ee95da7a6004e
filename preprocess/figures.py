"""The pictures, or the points in them, that limbs are measured in for retargeting."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.errors import InputError
from wan_trt.engine.letterbox import Letterbox
from wan_trt.preprocess.keypoints import KeypointTrack
from wan_trt.preprocess.person_tracker import PersonTracker
from wan_trt.preprocess.poses import PoseTrack, poses_of
from wan_trt.preprocess.retarget import Figure, Retargeting, retargeting

Seen = NDArray[np.uint8] | KeypointTrack
"""A picture, uint8 [height, width, 3], or the points in it: a track of one frame."""

_NECK = 1


@dataclass(frozen=True)
class RetargetFigures:
    """Where the two people's limbs are measured.

    `character` shows the reference. `edited_driver` and `edited_character`, which go together, show
    the two as they stand upright with their limbs stretched out, where the video's first frame and
    the reference do not.
    """

    character: Seen
    edited_driver: Seen | None = None
    edited_character: Seen | None = None

    def __post_init__(self) -> None:
        if (self.edited_driver is None) != (self.edited_character is None):
            raise InputError(
                "one picture in a standard pose",
                expected="two, of the driver and of the character, or none",
                action="give the other one too",
                field="edited_driver" if self.edited_driver is None else "edited_character",
            )

    def measure(
        self, poses: PoseTrack, height: int, width: int, tracker: PersonTracker | None
    ) -> Retargeting:
        """How to retarget the driver's `poses` to the character in a picture of `height` x
        `width`.

        The driver is measured in its first frame (upstream), or the first one with both shoulders.
        Pictures are looked at with `tracker`. Raises InputError where one is needed and there is
        none, or where a person's shoulders are not found.
        """
        necks = np.flatnonzero(poses.body[:, _NECK, 2] > 0)
        driver = Figure.of(poses, int(necks[0]) if len(necks) else 0)
        by_area = _figure(self.character, "reference", height, width, tracker, by_area=True)
        if self.edited_driver is None or self.edited_character is None:
            return retargeting(driver, by_area)
        size = poses.height, poses.width
        edited = (
            _figure(self.edited_driver, "edited_driver", *size, tracker),
            _figure(self.edited_character, "edited_character", height, width, tracker),
        )
        return retargeting(driver, by_area, edited)


def _figure(
    seen: Seen,
    field: str,
    height: int,
    width: int,
    tracker: PersonTracker | None,
    by_area: bool = False,
) -> Figure:
    """The person in a picture that is fitted into `height` x `width` (upstream)."""
    if isinstance(seen, KeypointTrack):
        letterbox = Letterbox(seen.height, seen.width, height, width, field)
        points = letterbox.map_points(seen.points[:1])
        return Figure.of(poses_of(KeypointTrack(width, height, None, points)), 0)
    if tracker is None:
        raise InputError(
            "a picture whose key points are not known",
            expected="a detector, or the key points",
            action="give --models DIR, or the key points as a .json"
            + (" (--reference-keypoints)" if field == "reference" else ""),
            field=field,
        )
    letterbox = Letterbox(seen.shape[0], seen.shape[1], height, width, field)
    interpolation = letterbox.interpolation_by_area if by_area else cv2.INTER_LINEAR
    fitted = seen if letterbox.changes_nothing else letterbox.apply(seen, interpolation)
    return Figure.of(poses_of(tracker.points_in(fitted)), 0)
