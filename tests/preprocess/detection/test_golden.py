"""Detector and pose network, before and after: equal to upstream."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from wan_trt.preprocess.detection.heat_maps import decode_heat_maps
from wan_trt.preprocess.detection.person_boxes import (
    detector_input,
    largest_person,
    people_in,
)
from wan_trt.preprocess.detection.pose_crop import PoseCrop, pose_crop, pose_input

ASPECT = 256 / 192


@pytest.fixture(scope="module")
def tensors(golden: Path) -> dict[str, NDArray[Any]]:
    return load_file(golden / "preprocess" / "detector_pose_io.safetensors")


def test_detector_input(tensors: dict[str, NDArray[Any]]) -> None:
    made = detector_input(tensors["image_rgb"])
    assert made.shape == (3, 640, 640)
    assert np.array_equal(made[:, ::16, ::16], tensors["det_input_stride16"])


def test_the_largest_person(goldens: Path, tensors: dict[str, NDArray[Any]]) -> None:
    for case in json.loads((goldens / "detector.json").read_text())["cases"]:
        size = case["image_h"], case["image_w"]
        people = people_in(tensors[f"{case['case']}.det"], size)
        chosen = largest_person(people)
        expected = case["bbox_x1y1x2y2_score"]
        if expected[4] < 0:  # upstream's mark for nobody: the whole picture
            assert chosen is None
        else:
            assert chosen is not None
            assert people[chosen].tolist() == expected


@pytest.mark.parametrize("name", ["pose0", "pose1", "pose2"])
def test_pose_input(tensors: dict[str, NDArray[Any]], name: str) -> None:
    frame = tensors["image_rgb"]
    crop = pose_crop(tensors[f"{name}.bbox_f64"], frame.shape[:2], ASPECT)
    assert crop.centre == tuple(tensors[f"{name}.center_f64"])
    sides = tensors[f"{name}.scale_f64"] * 200
    np.testing.assert_allclose((crop.width, crop.height), sides, rtol=1e-12)
    made = pose_input(frame, crop, 256, 192)
    expected = tensors[f"{name}.input_stride4"]
    np.testing.assert_allclose(made[:, ::4, ::4], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["pose0", "pose1", "pose2"])
def test_heat_maps(tensors: dict[str, NDArray[Any]], name: str) -> None:
    width, height = tensors[f"{name}.scale_f64"] * 200
    crop = PoseCrop(tuple(tensors[f"{name}.center_f64"]), width, height)
    decoded = decode_heat_maps(tensors[f"{name}.heatmaps"][0], crop)
    np.testing.assert_allclose(decoded, tensors[f"{name}.keypoints"][0], rtol=1e-5, atol=1e-4)
