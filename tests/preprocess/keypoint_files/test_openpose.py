"""OpenPose's JSON, as OpenPose and as ComfyUI's nodes write it."""

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
from wan_trt.preprocess.person_choice import PersonChoice
from wan_trt.preprocess.poses import JOINTS, poses_of

NAMES_18 = (
    *("nose", "neck", "right shoulder", "right elbow", "right wrist", "left shoulder"),
    *("left elbow", "left wrist", "right hip", "right knee", "right ankle", "left hip"),
    *("left knee", "left ankle", "right eye", "left eye", "right ear", "left ear"),
)
NAMES_25 = (
    *NAMES_18[:8],
    *("middle hip", "right hip", "right knee", "right ankle", "left hip", "left knee"),
    *("left ankle", "right eye", "left eye", "right ear", "left ear"),
    *("left toe", "left small toe", "left heel", "right toe", "right small toe", "right heel"),
)


def flat(count: int, start: float, scale: float = 1.0, score: float = 0.9) -> list[float]:
    """Points in a row, as OpenPose writes them."""
    return [n for i in range(count) for n in ((start + i) * scale, (start + 2 * i) * scale, score)]


def person(body: int = 25, start: float = 100, scale: float = 1.0) -> dict[str, list[float]]:
    return {
        "pose_keypoints_2d": flat(body, start, scale),
        "face_keypoints_2d": flat(70, start + 10, scale),
        "hand_left_keypoints_2d": flat(21, start + 20, scale),
        "hand_right_keypoints_2d": flat(21, start + 30, scale),
    }


@pytest.fixture
def driver() -> ArrayFrames:
    return ArrayFrames(np.zeros((3, 480, 640, 3), dtype=np.uint8), Fraction(25))


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(("count", "names"), [(18, NAMES_18), (25, NAMES_25)])
def test_every_joint_comes_to_its_place(
    tmp_path: Path, driver: ArrayFrames, count: int, names: tuple[str, ...]
) -> None:
    path = write(tmp_path / "one.json", {"version": 1.3, "people": [person(count)]})
    poses = poses_of(read_keypoints(path, driver))
    for index, name in enumerate(names):
        if name in JOINTS and name not in ("neck", "left toe", "right toe"):
            x, y, score = poses.body[0, JOINTS.index(name)]
            assert (x * 640, y * 480) == pytest.approx((100 + index, 100 + 2 * index)), name
            assert score == 0.9
    assert poses.body[0, 1, 0] * 640 == pytest.approx(100 + (2 + 5) / 2), "between the shoulders"
    assert (poses.body[0, 18:, 2] > 0).all() == (count == 25), "toes"
    assert poses.left_hand[0, 20, 0] * 640 == pytest.approx(140)
    assert poses.right_hand[0, 0, 0] * 640 == pytest.approx(130)
    assert poses.face[0, 1, 0] * 640 == pytest.approx(110)
    assert poses.face[0, 68, 0] * 640 == pytest.approx(177)


def test_a_folder_with_a_file_a_frame(tmp_path: Path, driver: ArrayFrames) -> None:
    for frame in range(3):
        people = [person(start=100 + frame)] if frame != 1 else []
        write(tmp_path / f"dance_{frame:012}_keypoints.json", {"people": people})
    track = read_keypoints(tmp_path, driver)
    assert (track.count, track.width, track.height) == (3, 640, 480)
    assert track.rate == 25
    assert track.points[[0, 2], 0, 0].tolist() == [100, 102]
    assert not track.points[1].any()


def test_a_list_of_frames_with_a_canvas(tmp_path: Path) -> None:
    frame = {"people": [person(18, 100, 0.001)], "canvas_width": 200, "canvas_height": 100}
    track = read_keypoints(write(tmp_path / "poses.json", [frame, frame]))
    assert (track.count, track.width, track.height) == (2, 200, 100)
    assert track.points[1, 0, :2] == pytest.approx([20, 10]), "parts of the canvas"


def test_one_of_two_people(tmp_path: Path, driver: ArrayFrames) -> None:
    small = {"pose_keypoints_2d": flat(25, 300, 1.0)[:12] + [0.0] * 63}
    path = write(tmp_path / "two.json", {"people": [small, person()]})
    assert read_keypoints(path, driver).points[0, 0, 0] == 100
    named = read_keypoints(path, driver, PersonChoice((301.0, 302.0)))
    assert named.points[0, 0, 0] == 300


def test_an_unseen_person(tmp_path: Path, driver: ArrayFrames) -> None:
    path = write(tmp_path / "none.json", {"people": [{"pose_keypoints_2d": [0.0] * 75}]})
    assert not read_keypoints(path, driver).points[..., 2].any()


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"people": 3}, "frame 0 is of another form"),
        ({"people": [3]}, "frame 0 is of another form"),
        ({"people": [{"pose_keypoints_2d": flat(17, 1)}]}, "a body of 17 points; expected 18 or"),
        ({"people": [{"pose_keypoints_2d": [1, 2]}]}, "pose is of another form"),
        ({"people": [{"pose_keypoints_2d": "all"}]}, "pose is of another form"),
        ({"people": [{"hand_left_keypoints_2d": flat(20, 1)}]}, "a hand of 20 points"),
        ({"people": [{"pose_keypoints_2d": flat(25, 1, score=-1)}]}, "wrong scores"),
        ({"people": [person(start=2e6)]}, "points far away"),
        ({"people": [], "canvas_width": 0, "canvas_height": 5}, "width 0"),
    ],
)
def test_refuses_other_forms(
    tmp_path: Path, driver: ArrayFrames, frame: dict[str, Any], message: str
) -> None:
    path = write(tmp_path / "bad.json", frame)
    with pytest.raises(MediaError, match=message) as caught:
        read_keypoints(path, driver)
    assert caught.value.field == "keypoints"


def test_needs_the_size_of_the_picture(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no canvas_width"):
        read_keypoints(write(tmp_path / "one.json", {"people": []}))
