"""People and points out of numbers whose meaning is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from wan_trt.preprocess.detection.heat_maps import decode_heat_maps
from wan_trt.preprocess.detection.person_boxes import largest_person, people_in
from wan_trt.preprocess.detection.pose_crop import PoseCrop, pose_crop, pose_input

SIZE = (480, 640)
PEOPLE: list[tuple[float, ...]] = [
    (100, 100, 300, 400, 0.9, 0),
    (320, 200, 400, 380, 0.8, 0),
    (0, 0, 640, 640, 0.7, 16),
]


def rows(people: list[tuple[float, ...]]) -> NDArray[np.float32]:
    return np.array(people, dtype=np.float32).reshape(-1, 6)


def columns(people: list[tuple[float, ...]], count: int = 200) -> NDArray[np.float32]:
    """The layout of networks without suppression: centre, size, scores of 80 classes."""
    output = np.zeros((84, count), dtype=np.float32)
    for index, (left, top, right, bottom, score, kind) in enumerate(people):
        output[:4, index] = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
        output[4 + int(kind), index] = score
    return output


def test_people_of_both_layouts() -> None:
    expected = [[100, 75, 300, 300], [320, 150, 400, 285]]
    for output in (rows(PEOPLE), columns(PEOPLE), columns(PEOPLE).T):
        people = people_in(output, SIZE)
        assert people[:, :4].tolist() == expected, "a dog is nobody"
        np.testing.assert_allclose(people[:, 4], [0.9, 0.8])


def test_the_surer_of_two_overlapping_boxes() -> None:
    twice: list[tuple[float, ...]] = [(100, 100, 300, 400, 0.6, 0), (104, 100, 300, 400, 0.9, 0)]
    assert people_in(rows(twice), SIZE)[:, 0].tolist() == [104]


def test_nobody() -> None:
    for output in (rows([]), rows([(0, 0, 9, 9, 0.04, 0)]), columns([])):
        people = people_in(output, SIZE)
        assert people.shape == (0, 5)
        assert largest_person(people) is None


def test_the_largest() -> None:
    assert largest_person(people_in(rows(PEOPLE), SIZE)) == 0
    assert largest_person(people_in(rows(PEOPLE[::-1]), SIZE)) == 0, "the surest comes first"


@pytest.mark.parametrize("shape", [(1, 300, 6), (5, 4), (7,)])
def test_refuses_other_layouts(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \[n, 6\]"):
        people_in(np.zeros(shape, dtype=np.float32), SIZE)


def test_a_crop_without_a_person_is_the_whole_picture() -> None:
    whole = pose_crop(None, SIZE, 4 / 3)
    assert whole.centre == (320, 240)
    assert whole.height == pytest.approx(640 * 4 / 3 * 1.25)
    for person in ([5, 5, 14, 90, 0.9], [5, 5, 90, 90, -1]):
        assert pose_crop(np.array(person, dtype=np.float64), SIZE, 4 / 3) == whole


def test_a_crop_outside_the_picture_is_black() -> None:
    frame = np.full((40, 40, 3), 255, dtype=np.uint8)
    black = (0 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    for centre in ((-100.0, 20.0), (20.0, 300.0), (200.0, -80.0)):
        made = pose_input(frame, PoseCrop(centre, 48, 64), 64, 48)
        np.testing.assert_allclose(made.transpose(1, 2, 0), np.broadcast_to(black, (64, 48, 3)))


def test_a_peak_between_cells_is_found() -> None:
    y, x = np.mgrid[:64, :48]
    place = (20.3, 31.8)
    heat = 0.8 * np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / 8)
    maps = np.stack([heat, np.zeros_like(heat)]).astype(np.float32)
    decoded = decode_heat_maps(maps, PoseCrop((96, 128), 192, 256))
    np.testing.assert_allclose(decoded[0, :2], np.multiply(place, 4), atol=0.05)
    assert decoded[0, 2] == pytest.approx(heat.max(), abs=1e-6)
    assert decoded[1].tolist() == [-4, -4, 0]
