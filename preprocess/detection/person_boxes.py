"""The person detector's input and output (YOLOv10, or any YOLO without its own suppression)."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

CONFIDENT_FROM: Final = 0.05
_OVERLAP = 0.5
_PERSON = 0
# A person whose longer side is less than this part of the longest one's is not taken for the one
# that matters.
_SMALL_PART = 0.4
_ROW = 6  # x1, y1, x2, y2, score, class
_BOX = 4

People = NDArray[np.float64]
"""[n, 5] of (left, top, right, bottom, score) in whole pixels, the surest first."""


def detector_input(
    frame: NDArray[np.uint8], height: int = 640, width: int = 640
) -> NDArray[np.float32]:
    """uint8 [h, w, 3] RGB -> float32 [3, height, width] in 0..1; the aspect is not kept."""
    scaled = np.asarray(cv2.resize(frame, (width, height))) / 255.0
    return np.ascontiguousarray(scaled.transpose(2, 0, 1), dtype=np.float32)


def people_in(
    output: NDArray[np.float32],
    size: tuple[int, int],
    input_size: tuple[int, int] = (640, 640),
) -> People:
    """The people in one picture of `size` (height, width).

    `output` is the network's for it: [n, 6] rows of box corners, score and class, or [84, n]
    columns of box centre, box size and 80 class scores (a square output is read as rows; [n, 84] is
    understood too), in pixels of `input_size` (height, width). Boxes below a score of 0.05 are
    dropped, and those that overlap a surer one of any class by half. Raises ValueError for another
    layout.
    """
    scale = np.array([size[1] / input_size[1], size[0] / input_size[0]] * 2, dtype=np.float32)
    boxes, scores, classes = _rows(output, scale)
    sure = scores >= CONFIDENT_FROM
    placed = boxes[sure].astype(np.int32)  # truncated to whole pixels (upstream)
    scores, classes = scores[sure], classes[sure]
    kept = cv2.dnn.NMSBoxes(placed.tolist(), scores.tolist(), CONFIDENT_FROM, _OVERLAP)
    chosen = [i for i in kept if classes[i] == _PERSON and scores[i] > CONFIDENT_FROM]
    people = np.empty((len(chosen), 5))
    people[:, :2] = placed[chosen, :2]
    people[:, 2:4] = placed[chosen, :2] + placed[chosen, 2:]
    people[:, 4] = scores[chosen]
    return people


def largest_person(people: People) -> int | None:
    """Which of the people has the largest box; None when there is nobody.

    As upstream: of the boxes at least 0.4 times as long as the longest, or as the one chosen so
    far.
    """
    longest = float(_long_sides(people).max(initial=-1.0))
    largest, chosen = -np.inf, None
    for index, side in enumerate(_long_sides(people)):
        area = float(np.prod(people[index, 2:4] - people[index, :2]))
        if area > largest and side >= longest * _SMALL_PART:
            largest, longest, chosen = area, float(side), index
    return chosen


def _long_sides(people: People) -> NDArray[np.float64]:
    return np.asarray((people[:, 2:4] - people[:, :2]).max(axis=1, initial=0.0))


def _rows(
    output: NDArray[np.float32], scale: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.intp]]:
    """(left, top, width, height) [n, 4] in pixels, scores [n], classes [n] of either layout."""
    if output.ndim != 2:
        raise ValueError(f"detections of shape {output.shape}: expected [n, 6] or [84, n]")
    if output.shape[1] == _ROW:
        boxes = output[:, :_BOX] * scale
        boxes[:, 2:] -= boxes[:, :2]
        return boxes, output[:, _BOX], output[:, -1].astype(np.intp)
    if output.shape[0] < output.shape[1]:
        output = output.T
    if output.shape[1] <= _BOX + 1:
        raise ValueError(f"detections of shape {output.shape}: expected [n, 6] or [84, n]")
    boxes, scores = output[:, :_BOX].copy(), output[:, _BOX:]
    boxes[:, :2] -= boxes[:, 2:] / 2
    return boxes * scale, scores.max(axis=1), scores.argmax(axis=1)
