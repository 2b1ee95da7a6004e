"""The face video: the driver's face, cut out of each frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.frames import FrameSource
from wan_trt.media.frame_range import check_range
from wan_trt.preprocess.face_crop import FaceBoxes, crop_face
from wan_trt.preprocess.frame_ranges import pieces


class FaceFrames:
    """A FrameSource of face crops, `face_size` x `face_size`, one for each frame of `driver`.

    `faces` holds boxes in pixels of the driver's frames; ValueError unless there is one for each.
    """

    def __init__(self, driver: FrameSource, faces: FaceBoxes, face_size: int) -> None:
        if driver.count != faces.count:
            raise ValueError(f"{faces.count} face boxes for {driver.count} frames")
        self._driver = driver
        self._boxes = faces.boxes
        self.count, self.rate = driver.count, driver.rate
        self.height = self.width = face_size

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        check_range(start, stop, self.count)
        faces = np.empty((stop - start, self.height, self.width, 3), dtype=np.uint8)
        for first, last in pieces(start, stop):
            for index, frame in enumerate(self._driver.read(first, last), first):
                faces[index - start] = crop_face(frame, self._boxes[index], self.height)
        return faces

    def close(self) -> None:
        """Closes the driver."""
        self._driver.close()
