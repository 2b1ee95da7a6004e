"""Key points out of pictures: who is there, and how that person stands."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.frames import FrameSource
from wan_trt.preprocess.contracts import PersonDetector, PoseEstimator
from wan_trt.preprocess.frame_ranges import pieces
from wan_trt.preprocess.keypoints import POINTS, KeypointTrack
from wan_trt.preprocess.person_choice import LARGEST, PersonChoice, PersonFollower
from wan_trt.preprocess.progress import OnProgress, Progress, ignore_progress


class PersonTracker:
    """Makes key-point tracks with a detector and a pose network."""

    def __init__(self, detector: PersonDetector, pose: PoseEstimator) -> None:
        self._detector = detector
        self._pose = pose

    def track(
        self,
        frames: FrameSource,
        choice: PersonChoice = LARGEST,
        on_progress: OnProgress = ignore_progress,
    ) -> KeypointTrack:
        """The chosen person's points in every frame; a few frames are held at a time.

        Where nobody is found, the pose is looked for in the whole picture (upstream); but when one
        person is followed, the points of such a frame are missing.
        """
        follower = PersonFollower(choice)
        points = np.zeros((frames.count, POINTS, 3))
        for first, last in pieces(0, frames.count):
            pictures = frames.read(first, last)
            chosen = [_chosen(follower, people) for people in self._detector.people(pictures)]
            wanted = [i for i, one in enumerate(chosen) if one is not None or not follower.follows]
            if wanted:
                people = [chosen[i] for i in wanted]
                found = self._pose.points(pictures[wanted], people)
                points[[first + i for i in wanted]] = found
            on_progress(Progress("poses", last, frames.count))
        # A network's heat may be a little below 0.
        np.maximum(points[..., 2], 0, out=points[..., 2])
        return KeypointTrack(frames.width, frames.height, frames.rate, points)

    def points_in(self, picture: NDArray[np.uint8]) -> KeypointTrack:
        """The points of the largest person in one picture, uint8 [height, width, 3]."""
        people = self._detector.people(picture[None])
        points = self._pose.points(picture[None], [_chosen(PersonFollower(), people[0])])
        np.maximum(points[..., 2], 0, out=points[..., 2])
        return KeypointTrack(picture.shape[1], picture.shape[0], None, points)


def _chosen(follower: PersonFollower, people: NDArray[np.float64]) -> NDArray[np.float64] | None:
    index = follower.choose(people)
    return None if index is None else people[index]
