"""Opening what the command line calls IMAGE and VIDEO."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.errors import MediaError
from wan_trt.engine.frames import FrameSource
from wan_trt.media.image_files import IMAGE_SUFFIXES, read_picture
from wan_trt.media.image_pattern import is_pattern
from wan_trt.media.image_reader import ImageFrames, open_sequence
from wan_trt.media.limits import GENEROUS, MediaLimits
from wan_trt.media.tensor_reader import TensorFrames, read_tensor_picture
from wan_trt.media.video_reader import VideoFrames

TENSOR_SUFFIX = ".safetensors"


def open_frames(
    path: Path | str, *, field: str | None = None, limits: MediaLimits = GENEROUS
) -> FrameSource:
    """Open a video file, an image-sequence pattern, a tensor file or a single picture.

    `field` names the option in errors. Raises MediaError when it cannot be read as frames of one
    size, MediaLimitError when it is too large; what can be checked without decoding everything is
    checked here.
    """
    path = Path(path)
    if is_pattern(path):
        return open_sequence(path, field, limits)
    suffix = path.suffix.lower()
    if suffix == TENSOR_SUFFIX:
        return TensorFrames(path, field, limits)
    if suffix in IMAGE_SUFFIXES:
        return ImageFrames([path], field, limits)
    return VideoFrames(path, field, limits)


def read_image(
    path: Path | str, *, field: str | None = None, limits: MediaLimits = GENEROUS
) -> NDArray[np.uint8]:
    """Read a picture, a tensor file or a pattern of one file as uint8 [height, width, 3] in RGB.

    EXIF orientation is applied, alpha is dropped. Raises MediaError, MediaLimitError before
    anything is decoded.
    """
    path = Path(path)
    if is_pattern(path):
        sequence = open_sequence(path, field, limits)
        if sequence.count != 1:
            raise MediaError(
                f"{path}: {sequence.count} pictures fit the pattern",
                expected="one picture",
                action="name the file itself",
                field=field,
            )
        picture: NDArray[np.uint8] = sequence.read(0, 1)[0]
        return picture
    if path.suffix.lower() == TENSOR_SUFFIX:
        return read_tensor_picture(path, field, limits)
    return read_picture(path, field, limits)
