"""Several people in the picture: who is chosen, and followed."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from wan_trt.engine.errors import InputError
from wan_trt.engine.letterbox import Letterbox
from wan_trt.preprocess.person_choice import PersonChoice, PersonFollower


def people(*boxes: tuple[float, float, float, float]) -> NDArray[np.float64]:
    return np.array([(*box, 0.9) for box in boxes], dtype=np.float64).reshape(-1, 5)


SMALL, LARGE = (10, 10, 30, 60), (50, 0, 110, 100)


def test_the_largest_of_each_frame() -> None:
    follower = PersonFollower()
    assert follower.choose(people(SMALL, LARGE)) == 1
    assert follower.choose(people(LARGE, SMALL)) == 0
    assert follower.choose(people()) is None


@pytest.mark.parametrize("place", [(20, 40), (0, 0, 40, 70)])
def test_the_one_at_a_point_or_in_a_box_is_followed(place: tuple[float, ...]) -> None:
    follower = PersonFollower(PersonChoice(place))
    assert follower.choose(people()) is None
    assert follower.choose(people(LARGE)) is None, "not there yet"
    assert follower.choose(people(LARGE, SMALL)) == 1
    for step in range(1, 12):  # walks through the large one
        left, top, right, bottom = SMALL
        walking = (left + 8 * step, top, right + 8 * step, bottom)
        assert follower.choose(people(LARGE, walking)) == 1
    assert follower.choose(people(LARGE)) is None, "out of sight"
    assert follower.choose(people(LARGE, walking)) == 1, "again in sight"


def test_a_jump_is_followed_when_it_is_near() -> None:
    follower = PersonFollower(PersonChoice((20, 40)))
    follower.choose(people(SMALL))
    assert follower.choose(people((31, 10, 51, 60))) == 0
    assert follower.choose(people((90, 10, 110, 60))) is None


def test_the_nearer_of_two_that_hold_the_point() -> None:
    follower = PersonFollower(PersonChoice((20, 40)))
    assert follower.choose(people((0, 0, 200, 200), SMALL)) == 1


def test_a_place_in_a_fitted_picture() -> None:
    letterbox = Letterbox(100, 200, 100, 100)
    assert PersonChoice((100, 50)).inside(letterbox) == PersonChoice((50, 50))
    assert PersonChoice((0, 0, 200, 100)).inside(letterbox) == PersonChoice((0, 25, 100, 75))
    assert PersonChoice().inside(letterbox) == PersonChoice()


@pytest.mark.parametrize("place", [(1,), (1, 2, 3), (5, 5, 4, 9), (float("nan"), 1)])
def test_refuses_what_is_no_place(place: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="person: "):
        PersonChoice(place)
