"""What every format of key points has in common: JSON, and what can be drawn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.errors import MediaError

FIELD = "keypoints"
# Beyond these OpenCV's integers overflow; no detector and no camera comes near.
LARGEST_SIDE_PX = 16384
FARTHEST_PX = 1e6


def unusable(path: Path, given: str, expected: str) -> MediaError:
    """An error about a file."""
    return MediaError(
        f"key points {path}: {given}",
        expected=expected,
        action="write the track again with the tool it came from",
        field=FIELD,
    )


def read_json(path: Path) -> object:
    """The content of a file. Raises MediaError where it cannot be read or is not JSON."""
    try:
        content: object = json.loads(path.read_bytes())
    except OSError as error:
        raise MediaError(
            f"key points {path} cannot be read: {error.strerror}",
            expected="a JSON file of key points",
            action="check the path",
            field=FIELD,
        ) from error
    except (ValueError, RecursionError) as error:
        raise unusable(path, f"not JSON ({error})", "a JSON file of key points") from error
    return content


def positive(path: Path, name: str, value: object) -> int:
    """`value`, if it is a whole number above 0."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise unusable(path, f"{name} {value!r}", "a whole number above 0")
    return value


def checked_size(path: Path, width: object, height: object) -> tuple[int, int]:
    """(width, height), if a picture may have them."""
    sides = positive(path, "width", width), positive(path, "height", height)
    if max(sides) > LARGEST_SIDE_PX:
        raise unusable(path, f"size {width}x{height}", f"sides up to {LARGEST_SIDE_PX}")
    return sides


def checked_points(path: Path, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """`points` [frames, 133, 3], if they are finite, have scores in 0..1, and can be drawn."""
    scores = points[..., 2]
    far = (np.abs(points[..., :2]) > FARTHEST_PX).any(axis=2) & (scores > 0)
    for faulty, fault, expected in (
        (np.any(~np.isfinite(points), axis=2), "is not finite", "finite numbers"),
        ((scores < 0) | (scores > 1), "has wrong scores", "0 to 1"),
        (far, "has points far away", f"at most {FARTHEST_PX:.0f} pixels"),
    ):
        frames = np.flatnonzero(faulty.any(axis=1))
        if len(frames):
            raise unusable(path, f"frame {frames[0]} {fault}", expected)
    return points


def rows(path: Path, where: str, value: object, columns: int) -> NDArray[np.float64]:
    """A list of numbers, or of lists of them, as [n, columns]; None and [] are no rows.

    Raises MediaError, which says `where`, for anything else.
    """
    if value is None:
        return np.zeros((0, columns))
    try:
        numbers = np.asarray(value, dtype=np.float64).reshape(-1, columns)
    except (ValueError, TypeError):
        raise unusable(path, f"{where} is of another form", f"rows of {columns} numbers") from None
    return numbers
