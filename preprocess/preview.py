"""What was found, drawn over the driver: to be looked at before a job is run."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.frames import FrameSource
from wan_trt.media.frame_range import check_range
from wan_trt.preprocess.face_crop import FaceBoxes
from wan_trt.preprocess.frame_ranges import pieces
from wan_trt.preprocess.poses import PoseTrack
from wan_trt.preprocess.skeleton import draw_pose, stick_width

_FACE = (255, 255, 255)
_MASK = (255, 0, 160)
_BLACK = (0, 0, 0)


class PreviewFrames:
    """A FrameSource of the driver's frames with skeleton, face box and mask drawn over them.

    `poses` and `faces` are in pixels of the driver's frames; `mask` has their size. Odd sides grow
    by a black pixel: videos want even ones.
    """

    def __init__(
        self, driver: FrameSource, poses: PoseTrack, faces: FaceBoxes, mask: FrameSource | None
    ) -> None:
        self._driver, self._poses, self._faces, self._mask = driver, poses, faces, mask
        self.count, self.rate = driver.count, driver.rate
        self.height, self.width = driver.height + driver.height % 2, driver.width + driver.width % 2

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        check_range(start, stop, self.count)
        frames = np.zeros((stop - start, self.height, self.width, 3), dtype=np.uint8)
        height, width = self._driver.height, self._driver.width
        for first, last in pieces(start, stop):
            masks = None if self._mask is None else self._mask.read(first, last)
            for index, frame in enumerate(self._driver.read(first, last), first):
                mask = None if masks is None else masks[index - first]
                frames[index - start, :height, :width] = self._drawn(frame, index, mask)
        return frames

    def close(self) -> None:
        """Closes the driver."""
        self._driver.close()

    def _drawn(
        self, frame: NDArray[np.uint8], index: int, mask: NDArray[np.uint8] | None
    ) -> NDArray[np.uint8]:
        picture = frame.copy()
        height, width = picture.shape[:2]
        if mask is not None:
            tinted = cv2.addWeighted(frame, 0.5, np.full_like(frame, _MASK), 0.5, 0)
            cv2.copyTo(tinted, cv2.extractChannel(mask, 0), picture)
        skeleton = draw_pose(self._poses, index, height, width)
        cv2.copyTo(skeleton, cv2.bitwise_not(cv2.inRange(skeleton, _BLACK, _BLACK)), picture)
        box = self._faces.boxes[index]
        corners = (box.left, box.top), (box.right - 1, box.bottom - 1)
        cv2.rectangle(picture, *corners, _FACE, stick_width(height, width))
        return picture
