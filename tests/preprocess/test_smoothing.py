"""Less jitter, the same movement."""

from __future__ import annotations

import numpy as np
import pytest

from wan_trt.preprocess.boxes import Box
from wan_trt.preprocess.face_crop import FaceBoxes
from wan_trt.preprocess.keypoints import KeypointTrack
from wan_trt.preprocess.smoothing import smoothed_boxes, smoothed_track


def test_a_steady_walk_stays_as_it_is_but_for_its_ends(track: KeypointTrack) -> None:
    smooth = smoothed_track(track, 1.0)
    np.testing.assert_allclose(smooth.points[3:-3], track.points[3:-3], atol=1e-9)
    assert np.array_equal(smooth.points[..., 2], track.points[..., 2])


def test_jitter_becomes_less(track: KeypointTrack) -> None:
    rng = np.random.default_rng(5)
    noisy = track.select(range(12), track.rate)
    noisy.points[..., :2] += rng.normal(0, 3, noisy.points[..., :2].shape)
    before = np.abs(noisy.points - track.points)[3:-3].mean()
    after = np.abs(smoothed_track(noisy, 1.5).points - track.points)[3:-3].mean()
    assert after < 0.7 * before


def test_unsure_points_count_less_and_missing_ones_not_at_all(track: KeypointTrack) -> None:
    track.points[6, 0] = (9999, 9999, 0)
    smooth = smoothed_track(track, 1.0)
    assert smooth.points[6, 0].tolist() == [9999, 9999, 0], "stays missing"
    np.testing.assert_allclose(smooth.points[5, 0, 1], track.points[5, 0, 1])
    alone = track.select(range(12), track.rate)
    alone.points[[*range(4), *range(5, 12)], 1, 2] = 0
    assert np.array_equal(smoothed_track(alone, 2.0).points[:, 1], alone.points[:, 1])


def test_boxes() -> None:
    boxes = FaceBoxes(
        tuple(Box(10 + (n % 3 == 0), 50 + (n % 3 == 0), 20, 60) for n in range(20)), 3
    )
    smooth = smoothed_boxes(boxes, 2.0)
    assert smooth.missing == 3
    assert len(set(smooth.boxes[5:-5])) == 1
    assert all(not box.empty for box in smooth.boxes)


@pytest.mark.parametrize("deviation", [0.01, 1000.0])
def test_any_deviation(track: KeypointTrack, deviation: float) -> None:
    smooth = smoothed_track(track, deviation)
    assert np.isfinite(smooth.points).all()
    one = track.select([0], None)
    assert np.array_equal(smoothed_track(one, deviation).points, one.points)
