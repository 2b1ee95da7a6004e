"""Frames as PNG pictures in one ZIP file, 000000.png, 000001.png, ..., none of it packed again."""

from __future__ import annotations

import contextlib
import io
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wan_trt.engine.errors import MediaError
from wan_trt.media.frame_extent import FrameExtent
from wan_trt.media.frame_file import FrameFile
from wan_trt.media.image_writer import COMPRESSION, ImageWriter

# The earliest that a ZIP file knows: the same frames make the same bytes.
_NO_DATE = (1980, 1, 1, 0, 0, 0)


def frame_name(index: int) -> str:
    """What frame `index` is called in the archive."""
    return f"{index:06}.png"


def png_bytes(picture: NDArray[np.uint8]) -> bytes:
    """A picture, uint8 [height, width, 3], as a PNG file."""
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(
        content, format="PNG", compress_level=COMPRESSION
    )
    return content.getvalue()


class ImageArchiveWriter:
    """A PixelWriter."""

    def __init__(self, path: Path, *, height: int, width: int, frame_count: int) -> None:
        """Raises MediaError for an unwritable place."""
        extent = FrameExtent(height, width, frame_count)
        self._file = FrameFile(path, extent, lambda path: zipfile.ZipFile(path, "x"))

    def write(self, pixels: NDArray[np.uint8]) -> None:
        """Append frames, uint8 [n, height, width, 3]."""
        first = self._file.extent.written
        self._file.extent.accept(pixels.shape)
        with self._file.failing():
            for index, picture in enumerate(pixels, start=first):
                entry = zipfile.ZipInfo(frame_name(index), _NO_DATE)
                self._file.open.writestr(entry, png_bytes(picture))

    def close(self) -> None:
        """Give the file its name. Raises ExecutionError while frames are missing."""
        self._file.close()

    def abort(self) -> None:
        """Remove the unfinished file; idempotent."""
        self._file.abort()


def unpack_pictures(archive: Path, pattern: Path) -> None:
    """Make an image sequence of such a ZIP file; see ImageWriter. Raises MediaError for what is
    none."""
    with contextlib.ExitStack() as resources:
        try:
            opened = resources.enter_context(zipfile.ZipFile(archive))
            count = len(opened.namelist())
            writer: ImageWriter | None = None
            for index in range(count):
                picture = np.asarray(Image.open(io.BytesIO(opened.read(frame_name(index)))))
                height, width, _ = picture.shape
                if writer is None:
                    writer = ImageWriter(pattern, height=height, width=width, frame_count=count)
                    resources.callback(writer.abort)
                writer.write(picture[None])
        except (zipfile.BadZipFile, KeyError, ValueError) as error:
            raise MediaError(
                f"{archive}: {error}", expected="a ZIP file of frames", action="fetch it again"
            ) from None
        if writer is not None:
            writer.close()
