"""Pictures as frames: sizes, interpolation and cropping."""

from __future__ import annotations

import numpy as np
import pytest

from wan_trt.engine.geometry import video_size
from wan_trt.engine.stills import crop_to_aspect, still


@pytest.mark.parametrize(
    ("picture", "area", "size"),
    [
        ((720, 1280), 1280 * 720, (720, 1280)),
        ((1080, 1920), 832 * 480, (464, 832)),  # not 480: both sides are cut down
        ((1024, 1024), 1280 * 720, (960, 960)),
        ((1500, 1000), 832 * 480, (768, 512)),
        ((80, 120), 6144, (64, 96)),
        ((1, 1000), 6144, (0, 2464)),
    ],
)
def test_the_size_of_a_video(picture: tuple[int, int], area: int, size: tuple[int, int]) -> None:
    assert video_size(*picture, area) == size


def test_a_picture_of_the_right_size_is_only_scaled() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    frame = still(picture, 5, 7)
    assert frame.shape == (3, 5, 7)
    np.testing.assert_allclose(frame, picture.transpose(2, 0, 1) / 127.5 - 1, atol=1e-6)
    assert frame.min() >= -1
    assert frame.max() <= 1


def test_doubling_weighs_four_pixels_with_the_cubic_kernel() -> None:
    line = np.array([10, 60, 200, 90, 30, 70], np.uint8)
    picture = np.repeat(line[None, :, None], 3, axis=2)
    found = (still(picture, 1, 12)[0, 0] + 1) * 127.5
    # Keys' kernel with a = -0.75 at distances 1.25, 0.25, 0.75, 1.75
    weights = np.array([-0.10546875, 0.87890625, 0.26171875, -0.03515625])
    assert weights.sum() == pytest.approx(1)
    assert found[5] == pytest.approx(weights @ line[1:5], abs=1e-3)
    padded = np.array([10, 10, 10, 60])  # borders are repeated
    assert found[1] == pytest.approx(weights @ np.array([10, 10, 60, 200]), abs=1e-3)
    assert found[0] == pytest.approx(weights[::-1] @ padded, abs=1e-3)


def test_interpolation_may_overshoot() -> None:
    edge = np.zeros((4, 8, 3), np.uint8)
    edge[:, 4:] = 255
    frame = still(edge, 16, 32)
    assert frame.max() > 1.05
    assert frame.min() < -1.05


@pytest.mark.parametrize(
    ("given", "aspect", "size"),
    [
        ((30, 40), (300, 400), (30, 40)),
        ((40, 40), (30, 60), (20, 40)),
        ((40, 40), (60, 30), (40, 20)),
        ((2, 900), (900, 2), (2, 1)),
    ],
)
def test_cropping(given: tuple[int, int], aspect: tuple[int, int], size: tuple[int, int]) -> None:
    picture = np.zeros((*given, 3), np.uint8)
    picture[(given[0] - 1) // 2, (given[1] - 1) // 2] = 1
    cropped = crop_to_aspect(picture, *aspect)
    assert cropped.shape[:2] == size
    assert cropped.any()
