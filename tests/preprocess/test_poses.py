from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from wan_trt.preprocess.keypoints import KeypointTrack
from wan_trt.preprocess.poses import JOINTS, poses_of

NECK = JOINTS.index("neck")
LEFT_TOE = JOINTS.index("left toe")


def test_equals_upstream(goldens: Path) -> None:
    expected = json.loads((goldens / "keypoints_133_to_20.json").read_text())
    points = np.array(expected["kp133"])
    poses = poses_of(KeypointTrack(expected["width"], expected["height"], None, points))
    for name in ("body", "left_hand", "right_hand", "face"):
        wanted = np.array([meta[f"keypoints_{name}"] for meta in expected["meta"]])
        np.testing.assert_allclose(getattr(poses, name), wanted, rtol=1e-12, err_msg=name)


def test_left_and_right_are_the_persons_own(track: KeypointTrack) -> None:
    poses = poses_of(track)
    for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle", "eye", "ear", "toe"):
        left = poses.body[0, JOINTS.index(f"left {part}"), 0]
        assert left > poses.body[0, JOINTS.index(f"right {part}"), 0], part
    assert poses.left_hand[0, 0, 0] > poses.right_hand[0, 0, 0]


def test_a_neck_needs_both_shoulders(track: KeypointTrack) -> None:
    assert poses_of(track).body[0, NECK].tolist() == [250 / 640, 110 / 360, 1.0]
    track.points[0, 5] = (9999, 9999, 0)
    assert poses_of(track).body[0, NECK, 2] == 0


def test_one_seen_toe_stands_for_both(track: KeypointTrack) -> None:
    track.points[0, 18] = (9999, 9999, 0)
    assert poses_of(track).body[0, LEFT_TOE].tolist() == [286 / 640, 340 / 360, 1.0]
    track.points[0, 17, 2] = 0
    assert poses_of(track).body[0, LEFT_TOE, 2] == 0


def test_a_body_beyond_the_left_or_top_border_repeats_the_one_before(track: KeypointTrack) -> None:
    track.points[3:5, :, 0] -= 2000
    poses = poses_of(track)
    assert np.array_equal(poses.body[3], poses.body[2])
    assert np.array_equal(poses.body[4], poses.body[2])
    assert poses.left_hand[3, 0, 0] < 0, "hands are left where they are"


def test_the_track_is_not_changed(track: KeypointTrack) -> None:
    before = track.points.copy()
    poses_of(track)
    assert np.array_equal(track.points, before)
