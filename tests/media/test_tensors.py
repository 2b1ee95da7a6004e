"""Frames and noise in safetensors files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from wan_trt.engine.errors import InputError, MediaError
from wan_trt.media import open_frames, open_noise, read_image


def save(path: Path, **tensors: NDArray[Any]) -> Path:
    save_file({name.replace("_", "."): tensor for name, tensor in tensors.items()}, path)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data.safetensors"


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(2).integers(0, 256, (9, 6, 8, 3), np.uint8)


class TestFrames:
    def test_slices(self, path: Path, pixels: NDArray[np.uint8]) -> None:
        frames = open_frames(save(path, frames=pixels))
        assert (frames.count, frames.height, frames.width, frames.rate) == (9, 6, 8, None)
        assert np.array_equal(frames.read(2, 5), pixels[2:5])
        assert frames.read(9, 9).shape == (0, 6, 8, 3)
        frames.close()

    def test_masks_are_repeated(self, path: Path, pixels: NDArray[np.uint8]) -> None:
        frames = open_frames(save(path, frames=np.ascontiguousarray(pixels[..., 0])))
        read = frames.read(0, 4)
        assert read.shape == (4, 6, 8, 3)
        assert np.array_equal(read, np.repeat(pixels[:4, ..., :1], 3, axis=3))

    @pytest.mark.parametrize("rank", [3, 4])
    def test_a_picture(self, path: Path, pixels: NDArray[np.uint8], rank: int) -> None:
        save(path, frames=pixels[0] if rank == 3 else pixels[:1])
        assert np.array_equal(read_image(path), pixels[0])

    def test_several_frames_are_no_picture(self, path: Path, pixels: NDArray[np.uint8]) -> None:
        with pytest.raises(MediaError, match=r"one picture, \[1,H,W,3\]"):
            read_image(save(path, frames=pixels))

    @pytest.mark.parametrize(
        ("tensors", "message"),
        [
            ({"video": np.zeros((1, 4, 4, 3), np.uint8)}, "no tensor 'frames', only video"),
            ({"frames": np.zeros((1, 4, 4, 3), np.float32)}, "is F32; expected U8"),
            ({"frames": np.zeros((1, 3, 4, 4), np.uint8)}, r"shape \[1, 3, 4, 4\]"),
            ({"frames": np.zeros((4, 4), np.uint8)}, r"shape \[4, 4\]"),
            ({"frames": np.zeros((0, 4, 4, 3), np.uint8)}, "at least one frame"),
            ({"frames": np.zeros((1, 1, 9000, 3), np.uint8)}, "9000x1 pixels"),
            ({"frames": np.zeros((2, 0, 5, 3), np.uint8)}, "5x0 pixels"),
        ],
    )
    def test_unusable_tensors(
        self, path: Path, tensors: dict[str, NDArray[Any]], message: str
    ) -> None:
        save(path, **tensors)
        with pytest.raises(MediaError, match=message) as caught:
            open_frames(path, field="mask")
        assert str(caught.value).startswith("mask: ")

    @pytest.mark.parametrize("kept", [0, 5, 60, -1])
    def test_cut_off(self, path: Path, pixels: NDArray[np.uint8], kept: int) -> None:
        save(path, frames=pixels)
        path.write_bytes(path.read_bytes()[:kept])
        with pytest.raises(MediaError, match="not a whole safetensors file"):
            open_frames(path)

    def test_missing(self, path: Path) -> None:
        with pytest.raises(MediaError, match="no such file"):
            open_frames(path)


SHAPE = (16, 3, 4, 5)


class TestNoise:
    def noise(self, seed: int) -> NDArray[np.float32]:
        return np.random.default_rng(seed).standard_normal(SHAPE).astype(np.float32)

    def test_each_segment(self, path: Path) -> None:
        source = open_noise(save(path, segment_0=self.noise(0), segment_1=self.noise(1)))
        assert np.array_equal(source.segment(1, SHAPE), self.noise(1))
        assert np.array_equal(source.segment(0, SHAPE), self.noise(0))
        source.close()

    def test_the_array_is_the_callers_own(self, path: Path) -> None:
        source = open_noise(save(path, segment_0=self.noise(0)))
        source.segment(0, SHAPE)[:] = 0
        assert source.segment(0, SHAPE).any()

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_numbers_must_be_finite(self, path: Path, bad: float) -> None:
        spoilt = self.noise(1)
        spoilt[3, 1, 2, 2] = bad
        source = open_noise(save(path, segment_0=self.noise(0), segment_1=spoilt))
        assert source.segment(0, SHAPE).shape == SHAPE
        with pytest.raises(InputError, match=r"noise: .*segment\.1 holds NaN or infinity"):
            source.segment(1, SHAPE)

    def test_missing_segment(self, path: Path) -> None:
        source = open_noise(save(path, segment_0=self.noise(0)))
        with pytest.raises(InputError, match=r"no tensor segment\.1, only segment\.0"):
            source.segment(1, SHAPE)

    def test_wrong_shape(self, path: Path) -> None:
        source = open_noise(save(path, segment_0=self.noise(0)))
        with pytest.raises(InputError, match=r"segment\.0 has shape \[16, 3, 4, 5\]; expected"):
            source.segment(0, (16, 4, 4, 5))

    @pytest.mark.parametrize(
        ("tensors", "message"),
        [
            ({}, "no tensor in it"),
            ({"noise": np.zeros(SHAPE, np.float32)}, "tensor 'noise'"),
            ({"segment_01": np.zeros(SHAPE, np.float32)}, "tensor 'segment.01'"),
            ({"segment_0": np.zeros(SHAPE, np.float64)}, "segment.0 is F64; expected F32"),
            ({"segment_0": np.zeros(SHAPE[1:], np.float32)}, "segment.0 has shape"),
        ],
    )
    def test_not_noise(self, path: Path, tensors: dict[str, NDArray[Any]], message: str) -> None:
        save(path, **tensors)
        with pytest.raises(InputError, match=message):
            open_noise(path)

    def test_not_a_tensor_file(self, path: Path) -> None:
        path.write_text("hello")
        with pytest.raises(MediaError, match=r"noise: .*not a whole safetensors file"):
            open_noise(path)
