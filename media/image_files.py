"""Single pictures, read with Pillow."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from wan_trt.engine.errors import MediaError
from wan_trt.media.input_files import one_line, require_file, require_size
from wan_trt.media.limits import GENEROUS, MediaLimits

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".jp2", ".avif"}
)

# Pillow's other plugins are left out: some start other programs (EPS), none holds photographs.
_FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "BMP", "TIFF", "PPM", "GIF", "JPEG2000", "AVIF")
_EXIF_ORIENTATION = 0x0112
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error)
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)


def read_picture(
    path: Path, field: str | None = None, limits: MediaLimits = GENEROUS
) -> NDArray[np.uint8]:
    """The picture as uint8 [height, width, 3] in RGB, upright.

    EXIF orientation is applied. An alpha channel is dropped, not composited, as in the official
    code's reader. 16-bit grey keeps its upper 8 bits. Of an animation the first picture counts.
    Raises MediaError when the file is missing, not a picture or damaged, MediaLimitError when its
    header says that it is too large.
    """
    with _open(path, field, limits) as picture:
        try:
            transposition = _TRANSPOSITIONS.get(_orientation(picture))
            upright = picture if transposition is None else picture.transpose(transposition)
            if upright.mode.startswith("I;16"):
                grey = (np.asarray(upright).astype(np.uint16) >> 8).astype(np.uint8)
                return np.repeat(grey[:, :, None], 3, axis=2)
            if upright.mode in ("I", "F"):
                raise MediaError(
                    f"{path}: a picture of mode {upright.mode} (32 bits per pixel in one channel)",
                    expected="8 or 16 bits per channel",
                    action="convert the picture to 8-bit RGB",
                    field=field,
                )
            return np.array(upright.convert("RGB"), dtype=np.uint8)
        except _UNREADABLE as error:
            raise _damaged(path, error, field) from error


def picture_size(
    path: Path, field: str | None = None, limits: MediaLimits = GENEROUS
) -> tuple[int, int]:
    """(height, width) of the upright picture, from its header; raises as `read_picture`."""
    with _open(path, field, limits) as picture:
        try:
            orientation = _orientation(picture)
        except _UNREADABLE as error:
            raise _damaged(path, error, field) from error
        width, height = picture.size
        return (width, height) if orientation in (5, 6, 7, 8) else (height, width)


def _orientation(picture: Image.Image) -> int:
    """The EXIF orientation, 1 where there is none."""
    # Pillow would decode a whole PNG in search of EXIF data behind its pixels.
    if picture.format == "PNG" and "exif" not in picture.info:
        return 1
    return int(picture.getexif().get(_EXIF_ORIENTATION, 1))


def _open(path: Path, field: str | None, limits: MediaLimits) -> Image.Image:
    nbytes = require_file(path, field, limits)
    Image.init()
    try:
        picture = Image.open(path, formats=[name for name in _FORMATS if name in Image.OPEN])
    except UnidentifiedImageError as error:
        raise MediaError(
            f"{path}: not a picture that can be read",
            expected="PNG, JPEG, WebP, BMP, TIFF, PPM, GIF, JPEG 2000 or AVIF",
            action="convert the picture to PNG",
            field=field,
        ) from error
    except _BOMB as error:
        raise MediaError(
            f"{path}: a picture of absurd size", action="scale the file first", field=field
        ) from error
    except _UNREADABLE as error:
        raise _damaged(path, error, field) from error
    try:
        require_size(path, picture.height, picture.width, field)
        limits.check_picture(path, nbytes, picture.height, picture.width, field)
    except MediaError:
        picture.close()
        raise
    return picture


def _damaged(path: Path, error: BaseException, field: str | None) -> MediaError:
    return MediaError(
        f"{path}: the picture cannot be decoded ({one_line(error)})",
        expected="an undamaged picture",
        action="save or copy it again",
        field=field,
    )
