"""Pixels as the encoders want them: bfloat16-rounded, letterboxed, masks on the latent grid.

The official pipeline rounds every picture to bfloat16 before any encoder sees it, and the frames
it carries from one segment to the next. The roundings are part of the algorithm whatever the
precision of the networks; the values are kept as float32 here.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.errors import InputError


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


def letterbox_size(height: int, width: int, into_height: int, into_width: int) -> tuple[int, int]:
    """Height and width of a picture inside the bars; the inner side is cut to an integer."""
    if height / width > into_height / into_width:
        return into_height, int(into_height / height * width)
    return int(into_width / width * height), into_width


def letterbox(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Fit a picture uint8 [h, w, 3] into [height, width, 3] on black, bilinear.

    An odd margin leaves the extra line at the bottom or right. Raises InputError for a picture
    so narrow that nothing of it would be left.
    """
    inner_height, inner_width = letterbox_size(image.shape[0], image.shape[1], height, width)
    if inner_height < 1 or inner_width < 1:
        raise InputError(
            f"a picture of {image.shape[1]}x{image.shape[0]} pixels",
            expected=f"one that still shows when fitted into {width}x{height}",
            action="crop it",
            field="reference",
        )
    inner = cv2.resize(image, (inner_width, inner_height), interpolation=cv2.INTER_LINEAR)
    canvas = np.zeros((height, width, 3), np.uint8)
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    canvas[top : top + inner_height, left : left + inner_width] = inner
    return canvas


def resize_square(frames: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Square frames uint8 [n, s, s, 3] -> [n, size, size, 3], bilinear; untouched if they fit."""
    if frames.shape[1:3] == (size, size):
        return frames
    resized = [cv2.resize(f, (size, size), interpolation=cv2.INTER_LINEAR) for f in frames]
    return np.stack(resized).astype(np.uint8, copy=False)
