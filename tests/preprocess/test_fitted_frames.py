"""The size of the result, and frames fitted into it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from wan_trt.engine.errors import InputError, MediaError
from wan_trt.engine.frames import ArrayFrames
from wan_trt.engine.letterbox import Letterbox
from wan_trt.preprocess.fitted_frames import FittedFrames
from wan_trt.preprocess.frame_rate import SampledFrames
from wan_trt.preprocess.output_size import size_for_area


def test_sizes_equal_upstream(goldens: Path) -> None:
    for case in json.loads((goldens / "sizes.json").read_text())["resize_by_area"]:
        size = size_for_area(case["in_h"], case["in_w"], case["area"])
        assert size == (case["out_h"], case["out_w"]), case
        box = Letterbox(case["in_h"], case["in_w"], *size)
        assert box.inner_size == (case["inner_h"], case["inner_w"]), case
        assert box.offset == (case["pad_top"], case["pad_left"]), case
        shrinks = box.interpolation_by_area == cv2.INTER_AREA
        assert shrinks == (case["interpolation"] == "area"), case


@pytest.mark.parametrize("name", ["0", "1", "2"])
def test_pixels_equal_upstream(goldens: Path, name: str) -> None:
    tensors = load_file(goldens / "resize_pixels.safetensors")
    picture = tensors[f"{name}.in"]
    size = size_for_area(picture.shape[0], picture.shape[1], int(tensors[f"{name}.area"]))
    by_area = FittedFrames(ArrayFrames(picture[None]), *size)
    assert np.array_equal(by_area.read(0, 1)[0], tensors[f"{name}.out"])


@pytest.mark.parametrize("area", [0, -5, 100, 256])
def test_refuses_an_area_with_no_room(area: int) -> None:
    with pytest.raises(InputError, match="area: "):
        size_for_area(1080, 1920, area)


def test_fitted_frames_keep_count_and_rate(driver: ArrayFrames) -> None:
    fitted = FittedFrames(driver, 160, 240)
    assert (fitted.count, fitted.height, fitted.width) == (12, 160, 240)
    assert fitted.rate == 24
    every = fitted.read(0, 12)
    assert np.array_equal(fitted.read(7, 10), every[7:10])
    assert not every[:, :12].any(), "a bar above"
    odd = Letterbox(driver.height, driver.width, 160, 240)
    for picture, frame in zip(every, driver.read(0, 12), strict=True):
        assert np.array_equal(picture, odd.apply(frame, cv2.INTER_AREA))
    same = FittedFrames(driver, driver.height, driver.width)
    assert np.array_equal(same.read(2, 4), driver.read(2, 4))
    fitted.close()


@pytest.mark.parametrize("size", [(90, 200), (200, 90), (64, 64), (90, 160)])
def test_a_canvas_is_painted_all_over(driver: ArrayFrames, size: tuple[int, int]) -> None:
    box = Letterbox(driver.height, driver.width, *size)
    frame = driver.read(0, 1)[0]
    canvas = np.full((*size, 3), 77, dtype=np.uint8)
    box.apply_to(canvas, frame, cv2.INTER_AREA)
    (top, left), (height, width) = box.offset, box.inner_size
    expected = np.zeros((*size, 3), dtype=np.uint8)
    expected[top : top + height, left : left + width] = cv2.resize(
        frame, (width, height), interpolation=cv2.INTER_AREA
    )
    assert np.array_equal(canvas, expected)


class Damaged(ArrayFrames):
    """Its eighth frame cannot be decoded."""

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        if start <= 7 < stop:
            raise MediaError("frame 7 cannot be decoded")
        return super().read(start, stop)


def test_a_damaged_frame_is_an_error_in_ranges_that_hold_it(driver: ArrayFrames) -> None:
    fitted = FittedFrames(Damaged(driver.read(0, 12)), 90, 160)
    with pytest.raises(MediaError, match="frame 7"):
        fitted.read(2, 12)
    assert np.array_equal(fitted.read(8, 12), FittedFrames(driver, 90, 160).read(8, 12))


def test_repeated_frames_are_fitted_where_they_go(driver: ArrayFrames) -> None:
    indices = [0, 0, 1, 1, 1, 11, 2, 2]
    fitted = FittedFrames(SampledFrames(driver, indices, None), 90, 160)
    expected = FittedFrames(driver, 90, 160).read(0, 12)[indices]
    assert np.array_equal(fitted.read(0, 8), expected)
