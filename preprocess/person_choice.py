"""Whose movements are taken when there are several people in the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.errors import InputError
from wan_trt.engine.letterbox import Letterbox
from wan_trt.preprocess.detection.person_boxes import People, largest_person

# A box is the same person's when it overlaps the last one by this part of what both cover, or
# else when their middles are no further apart than this part of the last one's diagonal.
_OVERLAP = 0.2
_NEAR = 0.5


@dataclass(frozen=True)
class PersonChoice:
    """The person at a point (x, y), or in a box (left, top, right, bottom), in pixels.

    Without `place` it is the largest person of each frame.
    """

    place: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.place is None:
            return
        ordered = len(self.place) != 4 or (
            self.place[0] < self.place[2] and self.place[1] < self.place[3]
        )
        if len(self.place) not in (2, 4) or not ordered or not np.isfinite(self.place).all():
            raise InputError(
                ",".join(f"{part:g}" for part in self.place),
                expected="X,Y or LEFT,TOP,RIGHT,BOTTOM in pixels",
                action="name a point on the person, or a box around it",
                field="person",
            )

    def inside(self, letterbox: Letterbox) -> PersonChoice:
        """The same in a picture that was fitted into another size."""
        if self.place is None:
            return self
        points = np.array(self.place).reshape(-1, 2)
        mapped = letterbox.map_points(np.insert(points, 2, 1.0, axis=1))[:, :2]
        return PersonChoice(tuple(float(part) for part in mapped.ravel()))


LARGEST = PersonChoice()


class PersonFollower:
    """Chooses one of the people of each frame, frame by frame.

    The largest one, whoever it is (upstream); or, where a place was named, the one found there
    first, and then whoever overlaps most with where that one was last, or is nearest to it. Nobody
    while that one is out of sight.
    """

    def __init__(self, choice: PersonChoice = LARGEST) -> None:
        self._place = choice.place
        self._last: NDArray[np.float64] | None = None

    @property
    def follows(self) -> bool:
        """Whether it is one person that is followed."""
        return self._place is not None

    def choose(self, people: People) -> int | None:
        """The index of the chosen one of `people` [n, 4 or more]; None for nobody."""
        if self._place is None:
            return largest_person(people)
        boxes = people[:, :4]
        if len(boxes) == 0:
            return None
        chosen = self._found(boxes) if self._last is None else _same(self._last, boxes)
        if chosen is not None:
            self._last = boxes[chosen]
        return chosen

    def _found(self, boxes: NDArray[np.float64]) -> int | None:
        assert self._place is not None
        place = np.array(self._place)
        if len(place) == 4:
            return _best(_overlaps(place, boxes), above=0)
        inside = ((boxes[:, :2] <= place) & (place <= boxes[:, 2:])).all(axis=1)
        areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        return _best(np.where(inside, -areas, -np.inf), above=-np.inf)


def _same(last: NDArray[np.float64], boxes: NDArray[np.float64]) -> int | None:
    overlapping = _best(_overlaps(last, boxes), above=_OVERLAP)
    if overlapping is not None:
        return overlapping
    apart = (boxes[:, :2] + boxes[:, 2:] - last[:2] - last[2:]) / 2
    diagonal = np.hypot(*(last[2:] - last[:2]))
    return _best(-np.hypot(*apart.T), above=-_NEAR * diagonal)


def _best(values: NDArray[np.float64], above: float) -> int | None:
    best = int(values.argmax())
    return best if values[best] > above else None


def _overlaps(box: NDArray[np.float64], boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of one box with each of `boxes` [n, 4]."""
    corners = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    common = np.prod(np.maximum(corners, 0), axis=1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) + np.prod(box[2:] - box[:2])
    return np.asarray(common / np.maximum(areas - common, 1e-9))
