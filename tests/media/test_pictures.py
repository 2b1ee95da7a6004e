"""Single pictures and image sequences."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from wan_trt.engine.errors import MediaError
from wan_trt.media import open_frames, read_image


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8)


def save(pixels: NDArray[np.uint8], path: Path, **options: Any) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


class TestPictures:
    @pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "A.PNG"])
    def test_lossless_formats(self, tmp_path: Path, pixels: NDArray[np.uint8], name: str) -> None:
        assert np.array_equal(read_image(save(pixels, tmp_path / name)), pixels)

    @pytest.mark.parametrize("name", ["a.jpg", "a.webp"])
    def test_lossy_formats(self, tmp_path: Path, name: str) -> None:
        flat = np.full((16, 16, 3), (180, 60, 90), np.uint8)
        read = read_image(save(flat, tmp_path / name))
        assert np.abs(read.astype(int) - flat).max() < 6

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_orientation_is_applied(self, tmp_path: Path, orientation: int) -> None:
        upright = np.zeros((20, 30, 3), np.uint8)
        upright[:5, :5] = 255  # marks the corner that must end at the top left
        stored = {
            1: upright,
            2: upright[:, ::-1],
            3: upright[::-1, ::-1],
            4: upright[::-1],
            5: upright.transpose(1, 0, 2),
            6: np.rot90(upright),
            7: upright.transpose(1, 0, 2)[::-1, ::-1],
            8: np.rot90(upright, 3),
        }[orientation]
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / "a.png"
        save(np.ascontiguousarray(stored), path, exif=exif)
        assert np.array_equal(read_image(path), upright)
        frames = open_frames(path)
        assert (frames.count, frames.height, frames.width, frames.rate) == (1, 20, 30, None)

    def test_alpha_is_dropped(self, tmp_path: Path, pixels: NDArray[np.uint8]) -> None:
        alpha = np.zeros((20, 30, 1), np.uint8)
        path = save(np.concatenate([pixels, alpha], axis=2), tmp_path / "a.png")
        assert np.array_equal(read_image(path), pixels)

    def test_grey_and_palette(self, tmp_path: Path, pixels: NDArray[np.uint8]) -> None:
        grey = save(pixels[:, :, 0], tmp_path / "grey.png")
        assert np.array_equal(read_image(grey), np.repeat(pixels[:, :, :1], 3, axis=2))
        Image.fromarray(pixels).quantize(8).save(tmp_path / "palette.png")
        assert read_image(tmp_path / "palette.png").shape == (20, 30, 3)

    def test_sixteen_bit_grey_keeps_the_upper_byte(self, tmp_path: Path) -> None:
        deep = np.arange(20 * 30, dtype=np.uint16).reshape(20, 30) * 100
        Image.fromarray(deep).save(tmp_path / "a.png")
        assert np.array_equal(read_image(tmp_path / "a.png")[:, :, 1], deep >> 8)

    def test_example_photographs(self, shared: Path) -> None:
        for name in ("animate_image.jpeg", "replace_image.jpeg"):
            picture = read_image(shared / "data" / "examples" / name)
            assert picture.dtype == np.uint8
            assert picture.ndim == 3


class TestUnusablePictures:
    def refusal(self, path: Path) -> str:
        with pytest.raises(MediaError) as caught:
            read_image(path, field="reference")
        message = str(caught.value)
        assert message.startswith("reference: ")
        assert path.name in message
        assert "\n" not in message
        return message

    def test_missing_and_folder(self, tmp_path: Path) -> None:
        assert "no such file" in self.refusal(tmp_path / "none.png")
        assert "not a regular file" in self.refusal(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
    def test_not_a_picture(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "a.png"
        path.write_bytes(content)
        assert "not a picture" in self.refusal(path)

    @pytest.mark.parametrize("name", ["a.png", "a.jpg"])
    def test_cut_off(self, tmp_path: Path, pixels: NDArray[np.uint8], name: str) -> None:
        path = save(pixels, tmp_path / name)
        path.write_bytes(path.read_bytes()[:-200])
        assert "cannot be decoded" in self.refusal(path)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_not_allowed(self, tmp_path: Path, pixels: NDArray[np.uint8]) -> None:
        path = save(pixels, tmp_path / "secret.png")
        path.chmod(0)
        with pytest.raises(MediaError, match=r"secret\.png: cannot be read \(Permission denied\)"):
            read_image(path)

    def test_absurd_sizes(self, tmp_path: Path) -> None:
        save(np.zeros((1, 9000, 3), np.uint8), tmp_path / "wide.png")
        assert "9000x1 pixels" in self.refusal(tmp_path / "wide.png")
        Image.new("1", (14000, 14000)).save(tmp_path / "bomb.png")
        assert "absurd size" in self.refusal(tmp_path / "bomb.png")

    def test_float_pixels(self, tmp_path: Path) -> None:
        Image.new("F", (4, 4)).save(tmp_path / "a.tif")
        assert "mode F" in self.refusal(tmp_path / "a.tif")


class TestSequences:
    @pytest.fixture
    def pattern(self, tmp_path: Path) -> Path:
        for index in range(7, 12):
            save(np.full((6, 8, 3), index, np.uint8), tmp_path / f"walk.{index:04d}.png")
        return tmp_path / "walk.%04d.png"

    def test_the_first_index_is_found(self, pattern: Path) -> None:
        frames = open_frames(pattern)
        assert (frames.count, frames.height, frames.width, frames.rate) == (5, 6, 8, None)
        assert frames.read(1, 4)[:, 0, 0, 0].tolist() == [8, 9, 10]
        frames.close()

    def test_neighbours_of_other_spelling_are_left_alone(self, pattern: Path) -> None:
        for name in ("walk.13.png", "walk.00014.png", "walk.0012.jpg", "xwalk.0012.png"):
            (pattern.parent / name).write_bytes(b"")
        assert open_frames(pattern).count == 5

    def test_unpadded_numbers_sort_as_numbers(self, tmp_path: Path) -> None:
        for index in (9, 10, 11):
            save(np.full((4, 4, 3), index, np.uint8), tmp_path / f"{index}.png")
        assert open_frames(tmp_path / "%d.png").read(0, 3)[:, 0, 0, 0].tolist() == [9, 10, 11]

    def test_a_gap_names_the_missing_file(self, pattern: Path) -> None:
        (pattern.parent / "walk.0009.png").unlink()
        with pytest.raises(MediaError, match=r"walk\.0009\.png: missing"):
            open_frames(pattern, field="pose")

    def test_nothing_fits(self, tmp_path: Path) -> None:
        for path in (tmp_path / "a.%04d.png", tmp_path / "nowhere" / "a.%04d.png"):
            with pytest.raises(MediaError, match="no file fits"):
                open_frames(path)

    def test_two_numbers(self, tmp_path: Path) -> None:
        with pytest.raises(MediaError, match="exactly one"):
            open_frames(tmp_path / "%d.%04d.png")

    def test_another_size_is_named(self, pattern: Path) -> None:
        save(np.zeros((6, 9, 3), np.uint8), pattern.parent / "walk.0010.png")
        with pytest.raises(MediaError, match=r"walk\.0010\.png: 9x6 pixels"):
            open_frames(pattern)

    def test_a_damaged_file_is_named_when_it_is_read(self, pattern: Path) -> None:
        noisy = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
        path = save(noisy, pattern.parent / "walk.0010.png")
        path.write_bytes(path.read_bytes()[:-80])
        frames = open_frames(pattern)
        assert len(frames.read(0, 3)) == 3
        with pytest.raises(MediaError, match=r"walk\.0010\.png"):
            frames.read(3, 4)

    def test_one_picture_by_pattern(self, tmp_path: Path, pattern: Path) -> None:
        with pytest.raises(MediaError, match="5 pictures fit"):
            read_image(pattern)
        save(np.full((4, 4, 3), 9, np.uint8), tmp_path / "one.3.png")
        assert read_image(tmp_path / "one.%d.png").shape == (4, 4, 3)
