from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from wan_trt.engine.frames import ArrayFrames
from wan_trt.preprocess.boxes import Box
from wan_trt.preprocess.keypoints import KeypointTrack
from wan_trt.preprocess.mask_frames import ApproximateMasks, BackgroundFrames, MatteMasks
from wan_trt.preprocess.masks import MaskShape
from wan_trt.preprocess.person_box import approximate_person_boxes
from wan_trt.preprocess.poses import poses_of

AS_IS = MaskShape(iterations=0)


def test_the_box_holds_the_whole_person(track: KeypointTrack) -> None:
    for frame, box in enumerate(approximate_person_boxes(poses_of(track))):
        assert box is not None
        x, y = track.points[frame, :, 0], track.points[frame, :, 1]
        assert box.left < x.min() < x.max() < box.right
        assert box.top < y.min()
        assert y.max() < box.bottom


def test_a_person_without_ankles_goes_on_to_the_border(track: KeypointTrack) -> None:
    track.points[:, 13:23, 2] = 0
    boxes = approximate_person_boxes(poses_of(track))
    assert {box.bottom for box in boxes if box is not None} == {360}


def test_a_frame_without_a_person_borrows_a_box(track: KeypointTrack) -> None:
    whole = approximate_person_boxes(poses_of(track))
    track.points[[0, 6], :, 2] = 0
    boxes = approximate_person_boxes(poses_of(track))
    assert (boxes[0], boxes[6]) == (whole[1], whole[5])


def test_nobody_anywhere_means_no_box(track: KeypointTrack) -> None:
    track.points[..., 2] = 0
    boxes = approximate_person_boxes(poses_of(track))
    assert boxes == (None,) * 12
    assert not ApproximateMasks(boxes, 360, 640, MaskShape(), None).read(0, 12).any()


def test_masks_from_boxes() -> None:
    masks = ApproximateMasks([Box(10, 20, 5, 15), None], 32, 48, AS_IS, Fraction(8))
    frames = masks.read(0, 2)
    assert frames.shape == (2, 32, 48, 3)
    assert frames.dtype == np.uint8
    assert masks.rate == 8
    assert (frames[0, 5:15, 10:20] == 255).all()
    assert frames[0].sum() == 10 * 10 * 3 * 255
    assert not frames[1].any()
    masks.close()


def test_masks_reach_beyond_the_box() -> None:
    masks = ApproximateMasks([Box(10, 20, 5, 15)], 32, 48, MaskShape(3, 1), None)
    assert (masks.read(0, 1)[0, 4:16, 9:21] == 255).all()


def test_masks_from_a_matte() -> None:
    matte = np.zeros((2, 16, 16, 3), dtype=np.uint8)
    matte[0, 4:8, 4:8] = 200
    matte[0, 0, 0] = 100  # not bright enough
    masks = MatteMasks(ArrayFrames(matte, Fraction(8)), AS_IS)
    frames = masks.read(0, 2)
    assert set(np.unique(frames)) == {0, 255}
    assert frames[0].sum() == 16 * 3 * 255
    assert not frames[1].any()
    assert np.array_equal(masks.read(1, 2)[0], frames[1])
    masks.close()


def test_the_background_is_black_where_the_mask_is_white(driver: ArrayFrames) -> None:
    boxes = [Box(10, 100, 20, 200)] * driver.count
    masks = ApproximateMasks(boxes, driver.height, driver.width, MaskShape(), None)
    background = BackgroundFrames(driver, masks)
    every = background.read(0, 12)
    white = masks.read(0, 12) > 127
    assert not every[white].any()
    assert np.array_equal(every[~white], driver.read(0, 12)[~white])
    assert np.array_equal(background.read(9, 11), every[9:11])
    background.close()


def test_mask_and_driver_must_agree(driver: ArrayFrames) -> None:
    masks = ApproximateMasks([None], driver.height, driver.width, MaskShape(), None)
    with pytest.raises(ValueError, match="mask"):
        BackgroundFrames(driver, masks)
