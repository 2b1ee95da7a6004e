"""Pictures fitted into other sizes: pixel for pixel as upstream fits them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from wan_trt.engine.errors import InputError
from wan_trt.engine.letterbox import Letterbox


def test_the_odd_line_is_at_the_bottom() -> None:
    boxed = Letterbox(10, 20, 21, 20).apply(np.full((10, 20, 3), 255, np.uint8))
    assert np.flatnonzero(boxed[:, 0, 0]).tolist() == list(range(5, 15))


def test_a_picture_that_would_vanish_is_refused() -> None:
    with pytest.raises(InputError, match=r"size: .*5000x2 .* fitted into 832x480"):
        Letterbox(2, 5000, 480, 832)
    with pytest.raises(InputError, match=r"reference: .*1x2000"):
        Letterbox(2000, 1, 48, 80, field="reference")


def test_points_go_where_the_pixels_go() -> None:
    picture = np.zeros((60, 100, 3), dtype=np.uint8)
    picture[40:44, 20:24] = 255
    box = Letterbox(60, 100, 480, 640)
    x, y, score = box.map_points(np.array([22.0, 42.0, 0.7]))
    rows, columns = np.nonzero(box.apply(picture)[..., 0] > 127)
    assert x == pytest.approx(columns.mean() + 0.5, abs=0.6)
    assert y == pytest.approx(rows.mean() + 0.5, abs=0.6)
    assert score == 0.7


def test_sizes_golden(golden: Path) -> None:
    for case in json.loads((golden / "preprocess" / "sizes.json").read_text())["letterbox"]:
        box = Letterbox(case["in_h"], case["in_w"], case["out_h"], case["out_w"])
        assert box.inner_size == (case["inner_h"], case["inner_w"]), case
        assert box.offset == (case["pad_top"], case["pad_left"]), case


def test_pixels_golden(golden: Path) -> None:
    tensors = load_file(golden / "preprocess" / "resize_pixels.safetensors")
    for number in range(3):
        picture = tensors[f"{number}.in"]
        height, width, _ = picture.shape
        boxed = Letterbox(height, width, 48, 80).apply(picture)
        np.testing.assert_array_equal(boxed, tensors[f"{number}.letterbox_48x80"])
    for path in (golden / "pipeline").glob("*.inputs.safetensors"):
        inputs = load_file(path)
        (height, width, _), (_, *canvas, _) = inputs["ref"].shape, inputs["pose"].shape
        boxed = Letterbox(height, width, canvas[0], canvas[1]).apply(inputs["ref"])
        np.testing.assert_array_equal(boxed, inputs["ref_letterboxed"], path.name)
