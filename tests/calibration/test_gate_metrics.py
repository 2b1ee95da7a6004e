"""The gate's numbers, on cases that can be checked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from wan_trt.calibration.gate.metrics import (
    IDENTICAL_DB,
    colour_drift,
    cosine,
    psnr,
    relative_error,
    share_of_way,
    ssim,
    temporal_ratio,
)


def noise(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    generator = np.random.default_rng(seed)
    return generator.uniform(-1, 1, shape).astype(np.float32)


def test_cosine_is_of_the_angle_and_blind_to_length() -> None:
    x = np.array([3.0, 0.0], np.float32)
    assert cosine(x, np.array([0.0, 5.0])) == 0
    assert cosine(x, -8 * x) == -1
    assert cosine(x, 8 * x) == 1
    assert cosine(x, np.array([1.0, 1.0])) == pytest.approx(math.sqrt(0.5))


def test_relative_error_sees_length() -> None:
    x = np.array([[3.0, 4.0]], np.float32)
    assert relative_error(x, x) == 0
    assert relative_error(x, 8 * x) == pytest.approx(7)
    assert relative_error(x, x + np.array([[0.0, 0.5]])) == pytest.approx(0.1)


def test_zeros_agree_with_zeros_only() -> None:
    zero, one = np.zeros(3), np.ones(3)
    assert (cosine(zero, zero), relative_error(zero, zero)) == (1, 0)
    assert (cosine(zero, one), relative_error(zero, one)) == (0, math.inf)


def test_not_a_number_stays_one() -> None:
    broken = np.array([1.0, np.nan])
    assert math.isnan(cosine(np.ones(2), broken))
    assert math.isnan(relative_error(np.ones(2), broken))


def test_the_share_of_the_way_ignores_what_is_aside() -> None:
    start, end = np.array([1.0, 0.0]), np.array([3.0, 0.0])
    assert share_of_way(start, end, np.array([1.0, 9.0])) == 0
    assert share_of_way(start, end, np.array([2.5, -4.0])) == pytest.approx(0.75)
    assert share_of_way(start, end, end) == 1
    assert share_of_way(start, start, end) == 0


def test_psnr_of_a_constant_error() -> None:
    frames = np.zeros((2, 16, 16, 3), np.float32)
    assert psnr(frames, frames + np.float32(0.5)) == pytest.approx(10 * math.log10(4 / 0.25))
    assert psnr(frames, frames) == IDENTICAL_DB


def test_ssim_is_one_for_the_same_and_low_for_noise() -> None:
    frames = noise(2, 24, 32, 3)
    assert ssim(frames, frames) == pytest.approx(1)
    assert abs(ssim(frames, noise(2, 24, 32, 3, seed=1))) < 0.1


def test_ssim_of_two_flat_frames_is_the_luminance_term() -> None:
    dark, bright = (np.full((1, 16, 16, 3), value, np.float32) for value in (0.25, 0.75))
    c1 = 0.02**2
    assert ssim(dark, bright) == pytest.approx((2 * 0.1875 + c1) / (0.0625 + 0.5625 + c1))


def test_ssim_is_that_of_scikit_image() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    first = noise(1, 30, 40, 3)
    second = 0.7 * first + np.float32(0.3) * noise(1, 30, 40, 3, seed=1)
    expected = metrics.structural_similarity(
        first[0].astype(np.float64),
        second[0].astype(np.float64),
        channel_axis=2,
        data_range=2.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert ssim(first, second) == pytest.approx(expected, abs=1e-6)


def test_drift_is_signed_in_levels_for_each_colour() -> None:
    frames = np.zeros((3, 16, 16, 3), np.float32)
    shift = np.array([1, 0, -2], np.float32) * np.float32(2 / 255)
    assert colour_drift(frames, frames + shift) == pytest.approx((1, 0, -2), abs=1e-5)


def test_temporal_ratio_tells_stiller_from_flickering() -> None:
    steps = np.array([0, 1, 0, 1], np.float32)[:, None, None, None]
    reference = np.broadcast_to(0.1 * steps, (4, 16, 16, 3))
    assert temporal_ratio(reference, 2 * reference) == pytest.approx(2)
    assert temporal_ratio(reference, reference + np.float32(0.3)) == pytest.approx(1)
    assert temporal_ratio(reference, 0 * reference) == 0


def test_temporal_ratio_of_stills() -> None:
    still = np.zeros((3, 16, 16, 3), np.float32)
    moving = still.copy()
    moving[1] = 1
    assert temporal_ratio(still, still) == 1
    assert temporal_ratio(still, moving) == math.inf
