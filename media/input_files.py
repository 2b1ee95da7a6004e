"""What every reader asks of a file before it opens it."""

from __future__ import annotations

import os
from pathlib import Path

from wan_trt.engine.errors import MediaError
from wan_trt.media.limits import GENEROUS, MediaLimits

MAX_SIDE = 8192
"""Longest side in pixels that is read or written: more is a mistake or an attack on memory."""


def require_file(path: Path, field: str | None, limits: MediaLimits = GENEROUS) -> int:
    """How many bytes the file has. Raises MediaError unless it is a regular file that may be read,
    MediaLimitError where it is too long."""
    try:
        exists = path.exists()
    except OSError as error:
        raise MediaError(
            f"{path}: {error.strerror}", action="check the path", field=field
        ) from error
    if not exists:
        raise MediaError(
            f"{path}: no such file",
            expected="an existing media file",
            action="check the path",
            field=field,
        )
    if not path.is_file():
        raise MediaError(
            f"{path}: not a regular file",
            expected="a media file",
            action="give the file itself, or a pattern such as name.%04d.png",
            field=field,
        )
    try:
        with path.open("rb") as file:
            nbytes = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise MediaError(
            f"{path}: cannot be read ({error.strerror})",
            expected="a file that this user may read",
            action="allow it, or name another file",
            field=field,
        ) from error
    limits.check_nbytes(path, nbytes, field)
    return nbytes


def require_size(path: Path, height: int, width: int, field: str | None) -> None:
    """Raise MediaError unless both sides are between 1 and MAX_SIDE pixels."""
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
        raise MediaError(
            f"{path}: frames of {width}x{height} pixels",
            expected=f"sides of 1 to {MAX_SIDE} pixels",
            action="scale the file first",
            field=field,
        )


def one_line(error: BaseException) -> str:
    """The first line of a foreign error's message, or its type where it says nothing."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
