from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wan_trt.engine.request import Mode
from wan_trt.media import open_frames, read_image
from wan_trt.preprocess.figures import RetargetFigures
from wan_trt.preprocess.keypoint_files import read_keypoints
from wan_trt.preprocess.options import Options
from wan_trt.preprocess.poses import poses_of
from wan_trt.preprocess.prepare import prepare
from wan_trt.preprocess.retarget import retarget
from wan_trt.preprocess.skeleton import SCORE_THRESHOLD, draw_pose


@pytest.mark.parametrize(
    ("video", "points", "mode", "size"),
    [
        ("animate", "animate", Mode.ANIMATE, (464, 832)),
        ("replace", "replace", Mode.REPLACE, (464, 832)),
        ("replace", "replace_forward", Mode.REPLACE, (464, 832)),
    ],
)
def test_real_videos(
    shared: Path, video: str, points: str, mode: Mode, size: tuple[int, int]
) -> None:
    examples = shared / "data" / "examples"
    reference = read_image(examples / f"{video}_image.jpeg")
    track = read_keypoints(shared / "data" / "keypoints" / f"{points}.coco133.json")
    driver = open_frames(examples / f"{video}_video.mp4")
    options = Options(mode=mode, area=832 * 480, face_size=64)
    prepared = prepare(reference, track, driver, options)
    assert (prepared.pose.height, prepared.pose.width) == size
    assert prepared.pose.rate == track.rate
    every = (prepared.pose, prepared.face, prepared.background, prepared.mask)
    for source in every:
        if source is None:
            assert mode is Mode.ANIMATE
            continue
        assert source.count == track.count
        frames = source.read(52, 62)
        assert frames.shape == (10, source.height, source.width, 3)
        black = ~frames.any(axis=(1, 2, 3))
        if source is prepared.pose:
            seen = (track.points[52:62, :, 2] >= SCORE_THRESHOLD).any(axis=1)
            assert black.tolist() == (~seen).tolist(), "black where nobody was found"
        else:
            assert not black.any()
    prepared.close()


def test_a_real_person_retargeted_to_a_real_picture(shared: Path) -> None:
    """Neck on neck and shoulders on shoulders, where the character's are."""
    folder = shared / "data" / "keypoints"
    track = read_keypoints(folder / "animate.coco133.json")
    character = read_keypoints(folder / "animate_image.coco133.json")
    poses = poses_of(track)
    how = RetargetFigures(character).measure(poses, 720, 1280, None)
    moved, there = retarget(poses, how), poses_of(character)
    for joint in (1, 2, 5):
        np.testing.assert_allclose(moved.body[0, joint, :2], there.body[0, joint, :2], atol=0.05)
    drawn = draw_pose(moved, 0, 720, 1280)
    assert 500 < np.count_nonzero(drawn.any(axis=2)) < 30_000
