"""Real photographs and driving videos, from files to files, through the command line."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from wan_trt.cli.main import main
from wan_trt.engine.bundle import Bundle
from wan_trt.media import open_frames


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["animate", "replace"])
def test_a_driving_video_and_a_photograph_become_a_video(
    mode: str, shared: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    examples, keypoints = shared / "data" / "examples", shared / "data" / "keypoints"
    video, image = examples / f"{mode}_video.mp4", examples / f"{mode}_image.jpeg"
    prepared, out = tmp_path / "prepared", tmp_path / "out.mp4"
    frames = 21
    code = main(
        f"preprocess --mode {mode} --video {video} --reference {image} --out {prepared} "
        f"--keypoints {keypoints / f'{mode}.coco133.json'} --frames {frames} --area 24576".split()
    )
    assert code == 0
    arguments = (
        f"generate {tiny_bundle.path} --mode {mode} --reference {prepared / 'src_ref.png'} "
        f"--pose {prepared / 'src_pose.mp4'} --face {prepared / 'src_face.mp4'} "
        f"--steps 2 --segment-frames 13 --audio {video} --out {out}"
    ).split()
    if mode == "replace":
        arguments += ["--background", str(prepared / "src_bg.mp4")]
        arguments += ["--mask", str(prepared / "src_mask.mp4")]
    assert main(arguments) == 0

    driver, pose, result = (open_frames(p) for p in (video, prepared / "src_pose.mp4", out))
    assert (result.count, result.height, result.width) == (frames, pose.height, pose.width)
    assert result.rate == driver.rate == Fraction(30 if mode == "animate" else 24)
    assert abs(pose.height * pose.width - 24576) < 0.1 * 24576
    assert np.ptp(pose.read(0, frames)) > 200  # skeletons are drawn
    pictures = result.read(0, frames).astype(float)
    assert pictures.std() > 5
    assert np.abs(np.diff(pictures, axis=0)).mean() > 0.5  # it moves
