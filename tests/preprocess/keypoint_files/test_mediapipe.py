"""MediaPipe Holistic's landmarks as JSON."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wan_trt.engine.errors import MediaError
from wan_trt.engine.frames import ArrayFrames
from wan_trt.preprocess.keypoint_files import read_keypoints
from wan_trt.preprocess.keypoints import KeypointTrack

PARTS = {"pose": 33, "face": 478, "left_hand": 21, "right_hand": 21}
# What the tracks beside the golden data were made with: whole-body point -> pose landmark.
BODY = [0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28]


def landmarks(count: int, start: float) -> list[dict[str, float]]:
    return [
        {"x": start + i / 1000, "y": start, "z": 0.0, "visibility": 0.5 + i / 100}
        for i in range(count)
    ]


def frame() -> dict[str, Any]:
    starts = {name: 0.1 + i / 10 for i, name in enumerate(PARTS)}
    return {f"{name}_landmarks": landmarks(n, starts[name]) for name, n in PARTS.items()}


def read(folder: Path, content: dict[str, Any], driver: ArrayFrames | None = None) -> KeypointTrack:
    path = folder / "landmarks.json"
    path.write_text(json.dumps(content))
    return read_keypoints(path, driver)


def test_every_landmark_comes_to_its_place(tmp_path: Path) -> None:
    track = read(tmp_path, {"width": 1000, "height": 500, "fps": [24, 1], "frames": [frame()]})
    assert (track.count, track.width, track.height) == (1, 1000, 500)
    assert track.rate == 24
    points = track.points[0]
    np.testing.assert_allclose(points[:17, 0], [100 + n for n in BODY])
    np.testing.assert_allclose(points[:17, 2], [0.5 + n / 100 for n in BODY])
    np.testing.assert_allclose(points[[17, 19, 20, 22], 0], [131, 129, 132, 130])
    assert not points[[18, 21]].any(), "there is no small toe"
    np.testing.assert_allclose(points[23:25, 0], [200 + 162, 200 + 234])
    np.testing.assert_allclose(points[91:112, 0], 300 + np.arange(21))
    np.testing.assert_allclose(points[112:, 0], 400 + np.arange(21))
    assert (points[23:, 2] == 1).all()


def test_size_and_rate_of_the_driver(tmp_path: Path) -> None:
    driver = ArrayFrames(np.zeros((2, 60, 80, 3), dtype=np.uint8), Fraction(15))
    track = read(tmp_path, {"frames": [None, frame()]}, driver)
    assert (track.width, track.height) == (80, 60)
    assert track.rate == 15
    assert not track.points[0].any()


def test_names_of_javascript_and_lists_of_numbers(tmp_path: Path) -> None:
    content: dict[str, Any] = {"width": 100, "height": 100, "frames": [{}]}
    content["frames"][0]["poseLandmarks"] = [[0.5, 0.25, 0.0, 0.75]] * 33
    content["frames"][0]["leftHandLandmarks"] = [[0.1, 0.2]] * 21
    content["frames"][0]["faceLandmarks"] = None
    track = read(tmp_path, content)
    assert track.points[0, 5].tolist() == [50, 25, 0.75]
    assert track.points[0, 100].tolist() == [10, 20, 1]
    assert not track.points[0, 23:91].any()


def test_points_outside_the_picture_are_missing(tmp_path: Path) -> None:
    content: dict[str, Any] = {"width": 100, "height": 100, "frames": [frame()]}
    content["frames"][0]["pose_landmarks"][0]["x"] = 1.2
    content["frames"][0]["pose_landmarks"][2]["y"] = -0.1
    track = read(tmp_path, content)
    assert not track.points[0, :2].any()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"frames": [frame()]}, "width None"),
        ({"width": 9, "height": 9, "frames": []}, "no frames"),
        ({"width": 9, "height": 9, "fps": [0, 1], "frames": [frame()]}, "above 0"),
        ({"width": 9, "height": 9, "frames": [{"pose_landmarks": [{"x": 0}] * 33}]}, "other form"),
        ({"width": 9, "height": 9, "frames": [{"pose_landmarks": [[0, 0]] * 32}]}, "32 of them"),
        ({"width": 9, "height": 9, "frames": [{"face_landmarks": 7}]}, "other form"),
    ],
)
def test_refuses_other_forms(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    with pytest.raises(MediaError, match=message):
        read(tmp_path, content)


def test_says_what_it_understands(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="expected 'coco-wholebody-133/1', OpenPose or MediaPipe"):
        read(tmp_path, {"keypoints": []})
