from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from wan_trt.engine.errors import InputError
from wan_trt.preprocess.masks import (
    MaskShape,
    dilate,
    fill_cells,
    paint_background,
    paint_white,
    replaced_region,
)


def test_equals_upstream(goldens: Path) -> None:
    tensors = load_file(goldens / "masks.safetensors")
    for case in json.loads((goldens / "masks.json").read_text())["cases"]:
        key = case["key"]
        picture = key.split(".")[0]
        outline = tensors[f"{picture}.mask"]
        shape = MaskShape(case["k"], case["iterations"], case["w_len"], case["h_len"])
        region = replaced_region(outline, shape)
        assert np.array_equal(region, tensors[f"{key}.mask"]), key
        if f"{key}.dilated" in tensors:
            grown = dilate(outline, shape.kernel, shape.iterations)
            assert np.array_equal(grown, tensors[f"{key}.dilated"]), key
        if f"{key}.bg" in tensors:
            frame = tensors[f"{picture}.frame"]
            white, background = np.empty_like(frame), np.empty_like(frame)
            paint_white(white, region)
            paint_background(background, frame, white)
            assert np.array_equal(background, tensors[f"{key}.bg"]), key


def test_the_background_is_the_frame_where_the_mask_is_black() -> None:
    rng = np.random.default_rng(3)
    frame = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    region = rng.integers(0, 2, (40, 50), dtype=np.uint8)
    white, background = np.full((2, 40, 50, 3), 99, dtype=np.uint8)
    paint_white(white, region)
    paint_background(background, frame, white)
    assert np.array_equal(white, np.repeat(255 * region[..., None], 3, axis=2))
    assert np.array_equal(background, np.where(region[..., None] == 1, 0, frame))


def outline(*ones: tuple[int, int]) -> NDArray[np.uint8]:
    mask = np.zeros((40, 50), dtype=np.uint8)
    for row, column in ones:
        mask[row, column] = 1
    return mask


def test_nobody_there_means_nothing_replaced() -> None:
    region = replaced_region(outline(), MaskShape())
    assert region.shape == (40, 50)
    assert not region.any()


def test_a_box_narrower_than_the_cells_is_cut_into_pixels() -> None:
    narrow = outline((10, 10), (11, 12), (30, 12))
    assert np.array_equal(fill_cells(narrow, columns=10, rows=1)[10:30, 10], np.ones(20))
    assert np.array_equal(fill_cells(narrow, columns=10, rows=50), narrow)


@pytest.mark.parametrize("columns", [1, 3])
def test_a_single_pixel_stays(columns: int) -> None:
    dot = outline((5, 5))
    assert np.array_equal(fill_cells(dot, columns, 1), dot)


def test_no_iterations_use_the_outline_as_it_is() -> None:
    dots = outline((5, 5), (20, 20))
    assert np.array_equal(replaced_region(dots, MaskShape(iterations=0)), dots)


@pytest.mark.parametrize(
    "shape", [{"kernel": 0}, {"iterations": -1}, {"columns": 0}, {"rows": -2}], ids=str
)
def test_refuses_an_impossible_shape(shape: dict[str, int]) -> None:
    with pytest.raises(InputError, match=f"mask {next(iter(shape))}"):
        MaskShape(**shape)
