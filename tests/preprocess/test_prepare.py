from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from wan_trt.engine.errors import InputError
from wan_trt.engine.frames import ArrayFrames, FrameSource
from wan_trt.engine.request import Mode
from wan_trt.preprocess.face_crop import crop_face, face_boxes
from wan_trt.preprocess.keypoints import KeypointTrack
from wan_trt.preprocess.masks import MaskShape
from wan_trt.preprocess.options import Options
from wan_trt.preprocess.poses import poses_of
from wan_trt.preprocess.prepare import Prepared, prepare

SMALL = 128 * 128
REPLACE = Options(mode=Mode.REPLACE, area=SMALL, face_size=32)


def sources(prepared: Prepared) -> list[FrameSource]:
    every = (prepared.pose, prepared.face, prepared.background, prepared.mask)
    return [source for source in every if source is not None]


def test_animate_follows_the_reference(
    reference: NDArray[np.uint8], track: KeypointTrack, driver: ArrayFrames
) -> None:
    prepared = prepare(reference, track, driver, Options(area=SMALL, face_size=32))
    assert (prepared.pose.height, prepared.pose.width) == (128, 128)
    assert (prepared.face.height, prepared.face.width) == (32, 32)
    assert prepared.background is None
    assert prepared.mask is None
    assert {source.count for source in sources(prepared)} == {12}
    assert {source.rate for source in sources(prepared)} == {Fraction(24)}
    box = face_boxes(poses_of(track)).boxes[3]
    expected = crop_face(driver.read(3, 4)[0], box, 32)
    assert np.array_equal(prepared.face.read(3, 4)[0], expected), "from the driver as it is"
    prepared.close()


def test_replace_follows_the_driver(
    reference: NDArray[np.uint8], track: KeypointTrack, driver: ArrayFrames
) -> None:
    prepared = prepare(reference, track, driver, REPLACE)
    assert prepared.background is not None
    assert prepared.mask is not None
    for source in (prepared.pose, prepared.background, prepared.mask):
        assert (source.height, source.width, source.count) == (96, 160, 12)
    white = prepared.mask.read(0, 12)[..., 0] > 127
    drawn = prepared.pose.read(0, 12).any(axis=3)
    assert white[drawn].all(), "the person lies inside the mask"
    assert 0.1 < white.mean() < 0.9
    assert not prepared.background.read(0, 12)[white].any()


def test_an_exact_size(
    reference: NDArray[np.uint8], track: KeypointTrack, driver: ArrayFrames
) -> None:
    for mode in Mode:
        pose = prepare(reference, track, driver, Options(mode=mode, size=(64, 48))).pose
        assert pose.read(0, 2).shape == (2, 64, 48, 3)


def test_another_rate(
    reference: NDArray[np.uint8], track: KeypointTrack, driver: ArrayFrames
) -> None:
    whole = prepare(reference, track, driver, REPLACE)
    slow = prepare(reference, track, driver, replace(REPLACE, rate=Fraction(12)))
    for source, every in zip(sources(slow), sources(whole), strict=True):
        assert source.count == 6
        assert source.rate == 12
        assert np.array_equal(source.read(0, 6), every.read(0, 12)[::2])


def test_a_frame_limit(
    reference: NDArray[np.uint8], track: KeypointTrack, driver: ArrayFrames
) -> None:
    options = Options(area=SMALL, frame_limit=5, rate=Fraction(48), face_size=32)
    assert {source.count for source in sources(prepare(reference, track, driver, options))} == {5}


def test_ranges_join_without_a_seam(
    reference: NDArray[np.uint8], track: KeypointTrack, driver: ArrayFrames
) -> None:
    for source in sources(prepare(reference, track, driver, REPLACE)):
        parts = [source.read(10, 12), source.read(0, 3), source.read(3, 10)]
        joined = np.concatenate([parts[1], parts[2], parts[0]])
        assert np.array_equal(joined, source.read(0, 12))


def test_a_matte_decides_the_mask(
    reference: NDArray[np.uint8], track: KeypointTrack, driver: ArrayFrames
) -> None:
    matte = np.zeros((12, 360, 640, 3), dtype=np.uint8)
    matte[:, :, :320] = 255
    options = replace(REPLACE, mask_shape=MaskShape(iterations=0))
    prepared = prepare(reference, track, driver, options, ArrayFrames(matte))
    assert prepared.mask is not None
    mask = prepared.mask.read(0, 1)[0, ..., 0]
    assert (mask[8:-8, :79] == 255).all()
    assert not mask[:, 81:].any()


def test_without_a_driver_faces_are_drawn(
    reference: NDArray[np.uint8], track: KeypointTrack
) -> None:
    prepared = prepare(reference, track, None, Options(area=SMALL, frame_limit=4))
    assert prepared.face.read(0, 4).shape == (4, 512, 512, 3)
    assert prepared.pose.rate == 24


def test_frames_without_a_face_are_counted(
    reference: NDArray[np.uint8], track: KeypointTrack, driver: ArrayFrames
) -> None:
    track.points[2:4, 23:91, 2] = 0
    assert prepare(reference, track, driver, REPLACE).frames_without_face == 2


def test_refuses_what_does_not_fit(
    reference: NDArray[np.uint8], track: KeypointTrack, driver: ArrayFrames
) -> None:
    longer = track.select([*range(12), 0], track.rate)
    small = ArrayFrames(np.zeros((12, 36, 64, 3), dtype=np.uint8))
    clockless = KeypointTrack(640, 360, None, track.points)
    with pytest.raises(InputError, match="keypoints: 13 frames of 640x360; expected 12"):
        prepare(reference, longer, driver)
    with pytest.raises(InputError, match="keypoints: 12 frames of 640x360"):
        prepare(reference, track, small)
    with pytest.raises(InputError, match="matte: 12 frames of 64x36"):
        prepare(reference, track, driver, REPLACE, small)
    with pytest.raises(InputError, match="matte: a matte in animate mode"):
        prepare(reference, track, driver, matte=driver)
    with pytest.raises(InputError, match="driver: no driving video"):
        prepare(reference, track, None, REPLACE)
    with pytest.raises(InputError, match="fps: 12 frames per second"):
        prepare(reference, clockless, None, Options(rate=Fraction(12)))


@pytest.mark.parametrize("size", [(0, 16), (100, 160), (-16, 16)])
def test_refuses_an_impossible_size(size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=r"size: .*multiples of 16"):
        Options(size=size)


def test_refuses_impossible_counts() -> None:
    with pytest.raises(InputError, match="frame_limit: 0"):
        Options(frame_limit=0)
    with pytest.raises(InputError, match="face_size: -1"):
        Options(face_size=-1)
