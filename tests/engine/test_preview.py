"""Pictures from latents without a VAE."""

from __future__ import annotations

import numpy as np

from wan_trt.engine.preview import preview_pictures


def test_a_picture_for_each_latent_frame() -> None:
    latents = np.random.default_rng(0).standard_normal((16, 3, 4, 6)).astype(np.float32)
    pictures = preview_pictures(latents)
    assert pictures.shape == (3, 4, 6, 3)
    assert pictures.dtype == np.uint8
    np.testing.assert_array_equal(pictures[1:2], preview_pictures(latents[:, 1:2]))


def test_the_map_is_linear_up_to_black_and_white() -> None:
    """Zero latents are the bias; far ones in the direction of the factors are black or white."""
    zero = np.zeros((16, 1, 1, 1), np.float32)
    assert preview_pictures(zero).ravel().tolist() == [104, 116, 84]
    bright = zero.copy()
    bright[2], bright[6] = 20, -20  # the channels that say most about brightness
    assert preview_pictures(bright).ravel().tolist() == [255, 255, 255]
    assert preview_pictures(-bright).ravel().tolist() == [0, 0, 0]
