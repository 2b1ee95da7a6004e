"""Who asks for previews gets the next pictures, or learns that there are none."""

from __future__ import annotations

import weakref

import numpy as np

from wan_trt.engine.preview_requests import PreviewRequests

PICTURES = np.zeros((1, 2, 2, 3), np.uint8)


def test_all_who_wait_get_the_same_pictures() -> None:
    previews = PreviewRequests()
    assert not previews
    first, second = previews.ask(), previews.ask()
    assert previews
    previews.answer(PICTURES)
    assert first.result(0) is second.result(0) is PICTURES
    assert not previews


def test_who_gave_up_is_passed_over() -> None:
    previews = PreviewRequests()
    impatient, patient = previews.ask(), previews.ask()
    impatient.cancel()
    previews.answer(PICTURES)
    assert patient.result(0) is PICTURES


def test_who_gave_up_costs_nothing() -> None:
    """A job may be queued for hours, while people look and leave: no pictures are made for them."""
    previews = PreviewRequests()
    left = [weakref.ref(each) for each in (previews.ask(), previews.ask())]
    for reference in left:
        asked = reference()
        assert asked is not None
        asked.cancel()
        del asked
    assert not previews
    last = previews.ask()
    assert [reference() for reference in left] == [None, None]
    assert previews
    last.cancel()


def test_after_the_end_nobody_waits() -> None:
    """Also of a job that was suspended: its next steps are another process's."""
    previews = PreviewRequests()
    before = previews.ask()
    previews.close()
    assert before.cancelled()
    assert previews.ask().cancelled()
    previews.close()
