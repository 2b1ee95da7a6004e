"""Pixel arithmetic against the official pipeline's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from wan_trt.engine.errors import InputError
from wan_trt.engine.pixels import (
    keep_table,
    latent_keep,
    letterbox,
    letterbox_size,
    mask_channels,
    pixel_table,
    resize_square,
    round_bfloat16,
    to_planes,
)


def bfloat16(value: float) -> float:
    return float(round_bfloat16(np.array([value], np.float32))[0])


def test_rounding_to_bfloat16() -> None:
    assert bfloat16(1.0) == 1.0
    assert bfloat16(1 + 2**-8) == 1.0  # a tie goes to the even neighbour
    assert bfloat16(1 + 3 * 2**-8) == 1 + 2**-6
    assert bfloat16(1 + 2**-8 + 2**-20) == 1 + 2**-7
    assert bfloat16(-(1 + 2**-8 + 2**-20)) == -(1 + 2**-7)
    assert bfloat16(3.4e38) == np.inf
    assert np.isnan(bfloat16(float("nan")))
    assert np.signbit(round_bfloat16(np.array([-0.0], np.float32)))[0]


@settings(deadline=None)
@given(st.floats(-(2.0**100), 2.0**100, width=32))
def test_rounding_takes_the_nearest_value_of_eight_bits(value: float) -> None:
    rounded = bfloat16(value)
    assert np.float32(rounded).view(np.uint32) & 0xFFFF == 0
    assert bfloat16(rounded) == rounded
    spacing = float(np.spacing(np.float32(abs(value)))) * 2**16
    assert abs(rounded - value) <= spacing / 2


def test_pixels_span_minus_one_to_one() -> None:
    table = pixel_table()
    assert (table[0], table[255]) == (-1, 1)
    assert np.all(np.diff(table) > 0)
    frames = np.arange(2 * 2 * 3 * 3, dtype=np.uint8).reshape(2, 2, 3, 3)
    planes = to_planes(frames)
    assert planes.shape == (3, 2, 2, 3)
    assert planes.dtype == np.float32
    assert planes[2, 1, 0, 1] == table[frames[1, 0, 1, 2]]


def test_white_is_replaced_black_is_kept() -> None:
    assert (keep_table()[0], keep_table()[255]) == (1, 0)


def test_mask_channels_hold_four_frames_of_each_latent() -> None:
    frames = np.arange(9, dtype=np.float32).reshape(9, 1, 1)
    assert mask_channels(frames)[:, :, 0, 0].T.tolist() == [
        [0, 0, 0, 0],
        [1, 2, 3, 4],
        [5, 6, 7, 8],
    ]


def test_letterbox_puts_the_odd_line_at_the_bottom() -> None:
    boxed = letterbox(np.full((10, 20, 3), 255, np.uint8), 21, 20)
    assert np.flatnonzero(boxed[:, 0, 0]).tolist() == list(range(5, 15))


def test_a_picture_that_would_vanish_is_refused() -> None:
    with pytest.raises(InputError, match="1x2000"):
        letterbox(np.zeros((2000, 1, 3), np.uint8), 48, 80)


def test_faces_are_resized_only_where_they_must_be() -> None:
    faces = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    assert resize_square(faces, 16) is faces
    assert resize_square(faces, 8).shape == (2, 8, 8, 3)


def test_masks_golden(golden: Path) -> None:
    tensors = load_file(golden / "modules" / "masks.safetensors")
    moving = np.repeat(tensors["moving.mask_u8"][..., None], 3, axis=3)
    for given_frames in (0, 1, 5):
        keep = latent_keep(moving, 8)
        keep[:given_frames] = 1
        np.testing.assert_array_equal(mask_channels(keep), tensors[f"moving.r{given_frames}"])
    for name, expected in tensors.items():
        if name.startswith("plain."):
            _, latents, given_text = name.split(".")
            keep = np.zeros((4 * int(latents[3:]) - 3, 3, 4), np.float32)
            keep[: int(given_text[1:])] = 1
            np.testing.assert_array_equal(mask_channels(keep), expected, name)


def test_letterbox_golden(golden: Path) -> None:
    tensors = load_file(golden / "preprocess" / "resize_pixels.safetensors")
    for number in range(3):
        boxed = letterbox(tensors[f"{number}.in"], 48, 80)
        np.testing.assert_array_equal(boxed, tensors[f"{number}.letterbox_48x80"])
    for path in (golden / "pipeline").glob("*.inputs.safetensors"):
        inputs = load_file(path)
        boxed = letterbox(inputs["ref"], *inputs["pose"].shape[1:3])
        np.testing.assert_array_equal(boxed, inputs["ref_letterboxed"], path.name)


def test_letterbox_sizes_golden(golden: Path) -> None:
    for case in json.loads((golden / "preprocess" / "sizes.json").read_text())["letterbox"]:
        inner = letterbox_size(case["in_h"], case["in_w"], case["out_h"], case["out_w"])
        assert inner == (case["inner_h"], case["inner_w"])
        assert (case["out_h"] - inner[0]) // 2 == case["pad_top"]
        assert (case["out_w"] - inner[1]) // 2 == case["pad_left"]
