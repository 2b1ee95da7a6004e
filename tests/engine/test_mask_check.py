"""Which videos are taken for masks: real masks, with noise and soft edges, and nothing else."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from wan_trt.engine import ArrayFrames
from wan_trt.engine.errors import InputError
from wan_trt.engine.mask_check import check_mask, fault_of
from wan_trt.media import open_frames, open_pixel_writer

HEIGHT, WIDTH = 96, 160


def ellipse(soften: int = 1, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """A white ellipse that moves, uint8 [5, height, width, 3]; its edge `soften` pixels wide."""
    frames = np.zeros((5, height, width), np.uint8)
    for index, frame in enumerate(frames):
        middle, axes = (width // 2 + index, height // 2), (width // 6, height // 3)
        cv2.ellipse(frame, middle, axes, 0, 0, 360, (255,), -1)
        frame[...] = cv2.GaussianBlur(frame, (soften, soften), 0)
    return frames[..., None].repeat(3, axis=3)


def scene(brightest: int = 256) -> NDArray[np.uint8]:
    """Smooth grey hills from black up to below `brightest`, uint8 [5, HEIGHT, WIDTH, 3]."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    hills = (np.sin(rows / 17) + np.cos(columns / 23) + 2) / 4 * (brightest - 1)
    return np.tile(hills.astype(np.uint8)[None, ..., None], (5, 1, 1, 3))


@pytest.mark.parametrize(
    "frames",
    [
        ellipse(),
        ellipse(soften=21),
        ellipse(soften=5, height=16, width=32),
        np.full((5, HEIGHT, WIDTH, 3), 255, np.uint8),
        (16 + ellipse() * (219 / 255)).astype(np.uint8),  # video's own range, not expanded
        255 - ellipse(),
    ],
    ids=["hard", "soft", "tiny and soft", "all white", "16..235", "most is replaced"],
)
def test_masks_are_taken(frames: NDArray[np.uint8], tmp_path: Path) -> None:
    check_mask(ArrayFrames(frames))
    noise = np.random.default_rng(0).integers(-9, 10, frames.shape)
    check_mask(ArrayFrames(np.clip(frames + noise, 0, 255).astype(np.uint8)))
    writer = open_pixel_writer(
        tmp_path / "mask.mp4", height=frames.shape[1], width=frames.shape[2], frame_count=5
    )
    writer.write(frames)
    writer.close()
    video = open_frames(tmp_path / "mask.mp4")
    check_mask(video)
    video.close()


COLOUR = np.array([1.0, 0.8, 0.6])


@pytest.mark.parametrize(
    ("frames", "fault"),
    [
        (scene(), "neither black nor white"),
        ((scene() * COLOUR).astype(np.uint8), "coloured"),
        ((scene(brightest=64) * COLOUR).astype(np.uint8), "coloured"),
        ((ellipse() * COLOUR).astype(np.uint8), "coloured"),
        (np.minimum(ellipse(), 20) + 100, "neither black nor white"),
    ],
    ids=["grey", "coloured", "coloured at night", "a painted region", "hardly any contrast"],
)
def test_other_videos_are_refused(frames: NDArray[np.uint8], fault: str) -> None:
    with pytest.raises(InputError, match=fault) as caught:
        check_mask(ArrayFrames(frames))
    assert caught.value.field == "mask"
    assert "background" in caught.value.action


def test_the_first_frames_that_show_something_are_judged() -> None:
    dark = np.zeros((40, HEIGHT, WIDTH, 3), np.uint8)
    check_mask(ArrayFrames(np.concatenate([dark, ellipse(), scene()])))
    with pytest.raises(InputError, match="neither"):
        check_mask(ArrayFrames(np.concatenate([dark, scene()])))


@pytest.mark.parametrize("value", [0, 1, 20])
def test_what_is_black_throughout_is_empty(value: int) -> None:
    """Among them a mask of zeros and ones, which was meant to be multiplied by 255."""
    with pytest.raises(InputError, match="empty"):
        check_mask(ArrayFrames(np.full((20, HEIGHT, WIDTH, 3), value, np.uint8)))


def test_real_videos_and_the_golden_masks(shared: Path, golden: Path) -> None:
    for name in ("animate_video.mp4", "replace_video.mp4"):
        video = open_frames(shared / "data" / "examples" / name)
        with pytest.raises(InputError, match="coloured"):
            check_mask(video)
        video.close()
    masks = [
        load_file(golden / "modules" / "masks.safetensors")["moving.mask_u8"],
        *(load_file(path)["mask"] for path in (golden / "pipeline").glob("replace_*.inputs.*")),
    ]
    assert len(masks) == 3
    for mask in masks:
        assert not fault_of(mask[..., None].repeat(3, axis=3))
