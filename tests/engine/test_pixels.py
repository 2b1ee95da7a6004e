"""Pixel arithmetic against the official pipeline's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from wan_trt.engine.pixels import (
    keep_table,
    latent_keep,
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
