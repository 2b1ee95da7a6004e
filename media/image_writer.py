"""Frames as a numbered sequence of PNG files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wan_trt.engine.errors import MediaError
from wan_trt.media.frame_extent import FrameExtent
from wan_trt.media.image_pattern import ImagePattern
from wan_trt.media.partial_output import FIELD, output_error, partial_name, require_place, sync

# Level 1 is several times faster than Pillow's 6 and a tenth larger.
COMPRESSION = 1


class ImageWriter:
    """Writes name.0000.png, name.0001.png, ... for a pattern such as name.%04d.png.

    The files wait in a hidden folder beside their place and are renamed at close, replacing old
    ones of the same names. Files of the pattern beyond the new ones are refused at the beginning:
    old and new pictures would make one sequence.
    """

    def __init__(self, path: Path, *, height: int, width: int, frame_count: int) -> None:
        """Raises MediaError when the pattern cannot be written where it is."""
        self._pattern = ImagePattern(path, FIELD)
        if path.suffix.lower() != ".png":
            raise MediaError(
                f"{path}: an image sequence of type {path.suffix or 'none'}",
                expected="a .png pattern such as name.%04d.png",
                action="let the name end in .png",
                field=FIELD,
            )
        require_place(self._pattern.file(0))
        foreign = [index for index in self._pattern.indices() if index >= frame_count]
        if foreign:
            raise MediaError(
                f"{self._pattern.file(foreign[0])}: left of an older, longer sequence",
                expected=f"no files of the pattern beyond the {frame_count} to be written",
                action="remove the old sequence or choose another name",
                field=FIELD,
            )
        self._extent = FrameExtent(height, width, frame_count)
        self._folder = partial_name(path)
        self._ended = False
        try:
            self._folder.mkdir()
        except OSError as error:
            raise output_error(path, error) from error

    def write(self, pixels: NDArray[np.uint8]) -> None:
        """Append frames, uint8 [n, height, width, 3]."""
        first = self._extent.written
        self._extent.accept(pixels.shape)
        try:
            for number, picture in enumerate(pixels, start=first):
                file = self._folder / str(number)
                Image.fromarray(np.ascontiguousarray(picture)).save(
                    file, format="PNG", compress_level=COMPRESSION
                )
                sync(file)
        except OSError as error:
            raise output_error(self._pattern.path, error) from error

    def close(self) -> None:
        """Give every file its name. Raises ExecutionError while frames are missing."""
        if self._ended:
            return
        try:
            self._extent.require_complete()
            for number in range(self._extent.frame_count):
                (self._folder / str(number)).replace(self._pattern.file(number))
            sync(self._pattern.folder)
        except OSError as error:
            raise output_error(self._pattern.path, error) from error
        finally:
            self.abort()

    def abort(self) -> None:
        """Remove what has no name yet; idempotent."""
        self._ended = True
        shutil.rmtree(self._folder, ignore_errors=True)
