"""The pose video: skeletons drawn when they are asked for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.letterbox import Letterbox
from wan_trt.media.frame_range import check_range
from wan_trt.preprocess.poses import PoseTrack
from wan_trt.preprocess.skeleton import draw_pose


class PoseFrames:
    """A FrameSource of drawn poses, one for each frame of a track.

    A pose is drawn at the size of the track's picture and then, where that differs, letterboxed to
    `height` x `width` with bilinear interpolation. That is upstream's animate mode without
    retargeting; its line width follows the driver's size. For lines that follow the output's size,
    as in replace mode, hand over a track whose picture has the output's size.
    """

    def __init__(self, poses: PoseTrack, height: int, width: int) -> None:
        self._poses = poses
        self._letterbox = Letterbox(poses.height, poses.width, height, width)
        self.count, self.rate = poses.count, poses.rate
        self.height, self.width = height, width

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        check_range(start, stop, self.count)
        frames = np.empty((stop - start, self.height, self.width, 3), dtype=np.uint8)
        for index in range(start, stop):
            drawn = draw_pose(self._poses, index, self._poses.height, self._poses.width)
            if self._letterbox.changes_nothing:
                frames[index - start] = drawn
            else:
                self._letterbox.apply_to(frames[index - start], drawn)
        return frames

    def close(self) -> None:
        """Nothing is held open."""
