"""Retargeting: limbs as long as the character's, in the driver's directions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from wan_trt.engine.errors import InputError
from wan_trt.preprocess.completed_limbs import completed
from wan_trt.preprocess.keypoints import KeypointTrack
from wan_trt.preprocess.limbs import LIMBS
from wan_trt.preprocess.poses import PoseTrack, poses_of
from wan_trt.preprocess.retarget import Figure, Retargeting, rebuilt, retarget, retargeting
from wan_trt.preprocess.skeleton import draw_pose

CASES = ["full_body", "three_quarter", "half_body", "hands_swapped", "with_edited_pair"]
PARTS = {"kps_body": "body", "kps_lhand": "left_hand", "kps_rhand": "right_hand"}


def track_from(metas: list[dict[str, Any]]) -> PoseTrack:
    def part(name: str) -> NDArray[np.float64]:
        return np.array([meta[f"keypoints_{name}"] for meta in metas], dtype=np.float64)

    hands = part("left_hand"), part("right_hand")
    width, height = metas[0]["width"], metas[0]["height"]
    return PoseTrack(width, height, None, part("body"), *hands, part("face"))


def figure_from(meta: dict[str, Any]) -> Figure:
    return Figure.of(track_from([meta]), 0)


def retargeted(case: dict[str, Any]) -> PoseTrack:
    given = case["inputs"]
    edited = None
    if given["tpl_edit_pose_meta0"] is not None:
        pair = given["tpl_edit_pose_meta0"], given["refer_edit_pose_meta"]
        edited = figure_from(pair[0]), figure_from(pair[1])
    first, character = figure_from(given["tpl_pose_meta0"]), figure_from(given["refer_pose_meta"])
    return retarget(track_from(given["tpl_pose_metas"]), retargeting(first, character, edited))


@pytest.mark.parametrize("name", CASES)
def test_equals_upstream(goldens: Path, name: str) -> None:
    case = json.loads((goldens / "retarget.json").read_text())[name]
    poses = retargeted(case)
    size = np.array([poses.width, poses.height, 1.0])
    for frame, expected in enumerate(case["outputs"]):
        assert (poses.width, poses.height) == (expected["width"], expected["height"])
        for key, part in PARTS.items():
            got = getattr(poses, part)[frame] * size
            removed = [place[0] is None for place in expected[key]]
            assert (got[:, 2] == 0).tolist() == removed, (frame, key)
            places = np.array(expected[key], dtype=np.float64)
            scores = np.array(expected[f"{key}_p"])
            kept = ~np.array(removed)
            np.testing.assert_allclose(got[kept, :2], places[kept], rtol=1e-9, atol=1.1e-6)
            np.testing.assert_allclose(got[kept, 2], scores[kept], rtol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_drawings_equal_upstream_pixel_by_pixel(goldens: Path, name: str) -> None:
    case = json.loads((goldens / "retarget.json").read_text())[name]
    poses = retargeted(case)
    drawn = draw_pose(poses, poses.count - 1, poses.height, poses.width)
    expected = np.asarray(Image.open(goldens / case["drawn_last_frame"]).convert("RGB"))
    assert np.array_equal(drawn, expected)


@pytest.fixture
def poses(track: KeypointTrack) -> PoseTrack:
    return poses_of(track)


def onto(poses: PoseTrack, character: Figure) -> tuple[PoseTrack, Retargeting]:
    how = retargeting(Figure.of(poses, 0), character)
    return retarget(poses, how), how


def test_the_same_person_moves_as_before(poses: PoseTrack) -> None:
    result, how = onto(poses, Figure.of(poses, 0))
    assert how.scale == 1
    np.testing.assert_allclose(how.ratios, 1)
    # Nearer to the ground by half a foot: upstream sets ankles onto the middle of the feet.
    shift = result.body[0] - poses.body[0]
    np.testing.assert_allclose(result.body - shift, poses.body, atol=1e-12)


def test_a_character_of_twice_the_size_in_a_picture_of_twice_the_size(poses: PoseTrack) -> None:
    figure = Figure.of(poses, 0)
    large = replace(figure, width=2 * figure.width, height=2 * figure.height)
    result, how = onto(poses, large)
    assert how.scale == pytest.approx(0.5)
    same, _ = onto(poses, figure)
    np.testing.assert_allclose(result.body, same.body, atol=1e-9)


def test_long_arms_stay_long_in_every_frame(poses: PoseTrack) -> None:
    joints = poses.body[0].copy()
    elbow, wrist = 6, 7
    joints[wrist, :2] += joints[wrist, :2] - joints[elbow, :2]
    long = Figure(poses.width, poses.height, joints)
    result, _ = onto(poses, long)
    for frame in range(poses.count):
        limb = LIMBS.index((elbow, wrist))
        before = Figure.of(poses, frame).lengths()[limb]
        assert Figure.of(result, frame).lengths()[limb] == pytest.approx(2 * before)
    # The other arm too: the longer side decides.
    assert Figure.of(result, 0).lengths()[LIMBS.index((3, 4))] == pytest.approx(2 * before)


def test_missing_joints(poses: PoseTrack) -> None:
    character = Figure.of(poses, 0)
    poses.body[3, 4] = 0  # a wrist in one frame
    poses.body[5] = 0  # nobody
    result, _ = onto(poses, character)
    assert result.body[3, 4].tolist() == [0, 0, 0]
    assert not result.left_hand[3].any(), "named the other way round"
    assert result.right_hand[3].any()
    assert not result.body[5].any()
    assert np.isfinite(result.body).all()


def test_a_character_cut_off_at_the_elbows(poses: PoseTrack) -> None:
    joints = poses.body[0].copy()
    joints[[4, 7]] = 0
    result, how = onto(poses, Figure(poses.width, poses.height, joints))
    assert not how.removed.any(), "forearms hang from the elbows, half as long as the trunk"
    assert (result.body[:, [4, 7], 2] > 0).all()


def test_legs_that_one_of_the_two_lacks_are_left_out(poses: PoseTrack) -> None:
    joints = poses.body[0].copy()
    legs = [8, 9, 10, 11, 12, 13, 18, 19]
    joints[legs] = 0
    result, how = onto(poses, Figure(poses.width, poses.height, joints))
    assert np.flatnonzero(how.removed).tolist() == legs
    assert not result.body[:, legs].any()


def test_needs_shoulders(poses: PoseTrack) -> None:
    joints = poses.body[0].copy()
    joints[1] = 0
    with pytest.raises(InputError, match="reference: both shoulders"):
        retargeting(Figure.of(poses, 0), Figure(poses.width, poses.height, joints))


def test_missing_ends_hang_down(poses: PoseTrack) -> None:
    joints = poses.body[0].copy()
    joints[4] = 0
    filled = completed(joints, poses.height, poses.width)
    assert filled[4, 0] == joints[3, 0]
    other = Figure(poses.width, poses.height, joints).lengths()[LIMBS.index((6, 7))]
    assert (filled[4, 1] - joints[3, 1]) * poses.height == pytest.approx(other)
    joints[3] = 0
    filled = completed(joints, poses.height, poses.width)
    assert filled[3, 2] == 1
    assert filled[4, 2] == 1


def test_feet_end_with_half_a_calf(poses: PoseTrack) -> None:
    poses.body[:, 18, 1] += 0.3
    result, _ = onto(poses, Figure.of(poses, 0))
    lengths = Figure.of(result, 4).lengths()
    assert lengths[LIMBS.index((13, 18))] == pytest.approx(0.5 * lengths[LIMBS.index((12, 13))])


def test_rebuilding_keeps_directions() -> None:
    joints = np.random.default_rng(3).uniform(1, 99, (4, 20, 3))
    ratios = np.random.default_rng(4).uniform(0.5, 2, len(LIMBS))
    moved = rebuilt(joints, ratios)
    for limb, (start, end) in enumerate(LIMBS):
        before = joints[:, end, :2] - joints[:, start, :2]
        after = moved[:, end, :2] - moved[:, start, :2]
        np.testing.assert_allclose(after, ratios[limb] * before)
