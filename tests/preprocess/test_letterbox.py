from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from safetensors.numpy import load_file

from wan_trt.engine.errors import InputError
from wan_trt.engine.frames import ArrayFrames
from wan_trt.preprocess.fitted_frames import FittedFrames
from wan_trt.preprocess.letterbox import Letterbox, size_for_area


def test_sizes_equal_upstream(goldens: Path) -> None:
    for case in json.loads((goldens / "sizes.json").read_text())["resize_by_area"]:
        size = size_for_area(case["in_h"], case["in_w"], case["area"])
        assert size == (case["out_h"], case["out_w"]), case
        box = Letterbox(case["in_h"], case["in_w"], *size)
        assert box.inner_size == (case["inner_h"], case["inner_w"]), case
        assert box.offset == (case["pad_top"], case["pad_left"]), case
        shrinks = box.interpolation_by_area == cv2.INTER_AREA
        assert shrinks == (case["interpolation"] == "area"), case


def test_letterboxes_equal_upstream(goldens: Path) -> None:
    for case in json.loads((goldens / "sizes.json").read_text())["letterbox"]:
        box = Letterbox(case["in_h"], case["in_w"], case["out_h"], case["out_w"])
        assert box.inner_size == (case["inner_h"], case["inner_w"]), case
        assert box.offset == (case["pad_top"], case["pad_left"]), case


@pytest.mark.parametrize("name", ["0", "1", "2"])
def test_pixels_equal_upstream(goldens: Path, name: str) -> None:
    tensors = load_file(goldens / "resize_pixels.safetensors")
    picture = tensors[f"{name}.in"]
    size = size_for_area(picture.shape[0], picture.shape[1], int(tensors[f"{name}.area"]))
    by_area = FittedFrames(ArrayFrames(picture[None]), *size)
    assert np.array_equal(by_area.read(0, 1)[0], tensors[f"{name}.out"])
    letterboxed = Letterbox(picture.shape[0], picture.shape[1], 48, 80).apply(picture)
    assert np.array_equal(letterboxed, tensors[f"{name}.letterbox_48x80"])


@pytest.mark.parametrize("area", [0, -5, 100, 256])
def test_refuses_an_area_with_no_room(area: int) -> None:
    with pytest.raises(InputError, match="area: "):
        size_for_area(1080, 1920, area)


def test_refuses_a_picture_of_which_nothing_is_left() -> None:
    with pytest.raises(InputError, match="size: "):
        Letterbox(2, 5000, 480, 832)


def test_points_go_where_the_pixels_go() -> None:
    picture = np.zeros((60, 100, 3), dtype=np.uint8)
    picture[40:44, 20:24] = 255
    box = Letterbox(60, 100, 480, 640)
    x, y, score = box.map_points(np.array([22.0, 42.0, 0.7]))
    rows, columns = np.nonzero(box.apply(picture)[..., 0] > 127)
    assert x == pytest.approx(columns.mean() + 0.5, abs=0.6)
    assert y == pytest.approx(rows.mean() + 0.5, abs=0.6)
    assert score == 0.7


def test_fitted_frames_keep_count_and_rate(driver: ArrayFrames) -> None:
    fitted = FittedFrames(driver, 160, 240)
    assert (fitted.count, fitted.height, fitted.width) == (12, 160, 240)
    assert fitted.rate == 24
    every = fitted.read(0, 12)
    assert np.array_equal(fitted.read(7, 10), every[7:10])
    assert not every[:, :12].any(), "a bar above"
    same = FittedFrames(driver, driver.height, driver.width)
    assert np.array_equal(same.read(2, 4), driver.read(2, 4))
    fitted.close()
