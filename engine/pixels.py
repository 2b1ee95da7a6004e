"""Pixels as the encoders want them: bfloat16-rounded, masks on the latent grid.

The official pipeline rounds every picture to bfloat16 before any encoder sees it, and the frames
it carries from one segment to the next. The roundings are part of the algorithm whatever the
precision of the networks; the values are kept as float32 here.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray


def round_bfloat16(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The nearest bfloat16 of each float32, ties to even, as float32."""
    bits = values.view(np.uint32)
    upper = (bits >> 16) & 1
    with np.errstate(over="ignore"):
        rounded = ((bits + (upper + np.uint32(0x7FFF))) & np.uint32(0xFFFF0000)).view(np.float32)
    return np.where(np.isnan(values), values, rounded)


@cache
def pixel_table() -> NDArray[np.float32]:
    """bf16(u / 127.5 - 1) for the 256 pixel values u, float32 [256]."""
    return round_bfloat16((np.arange(256) / 127.5 - 1).astype(np.float32))


@cache
def keep_table() -> NDArray[np.float32]:
    """Share of a mask pixel u that is kept (not replaced), bf16(1 - bf16(u / 255)), [256]."""
    masked = round_bfloat16((np.arange(256) / 255).astype(np.float32))
    return round_bfloat16(np.float32(1) - masked)


def to_planes(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """RGB frames uint8 [n, height, width, 3] -> float32 [3, n, height, width] in [-1, 1]."""
    planes: NDArray[np.float32] = pixel_table()[frames.transpose(3, 0, 1, 2)]
    return planes


def latent_keep(mask: NDArray[np.uint8], stride: int) -> NDArray[np.float32]:
    """Mask frames uint8 [n, height, width, 3] (white = replace) -> share to keep, float32
    [n, height / stride, width / stride].

    Channel 0 counts. Nearest-neighbour resizing by a whole factor takes every stride-th pixel.
    """
    keep: NDArray[np.float32] = keep_table()[mask[:, ::stride, ::stride, 0]]
    return keep


def mask_channels(keep: NDArray[np.float32], time_stride: int = 4) -> NDArray[np.float32]:
    """Per-frame mask [frames, h, w] -> the denoiser's four channels [4, latents, h, w].

    Channel j of latent k > 0 is frame 4k - 3 + j; latent 0 holds frame 0 four times.
    """
    frames, height, width = keep.shape
    latents = (frames - 1) // time_stride + 1
    repeated = np.concatenate([np.repeat(keep[:1], time_stride, axis=0), keep[1:]])
    return repeated.reshape(latents, time_stride, height, width).transpose(1, 0, 2, 3)


def resize_square(frames: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Square frames uint8 [n, s, s, 3] -> [n, size, size, 3], bilinear; untouched if they fit."""
    if frames.shape[1:3] == (size, size):
        return frames
    resized = [cv2.resize(f, (size, size), interpolation=cv2.INTER_LINEAR) for f in frames]
    return np.stack(resized).astype(np.uint8, copy=False)
