"""Key-point tracks: where a person's 133 whole-body points are in every frame of a video.

A track is what a pose detector hands over, and the only thing the rest of this package knows of
one: a track may be read from a file or filled in by a detector, the drawing does not care.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.errors import MediaError

SCHEMA = "coco-wholebody-133/1"
POINTS = 133
# Beyond these OpenCV's integers overflow; no detector and no camera comes near.
LARGEST_SIDE_PX = 16384
FARTHEST_PX = 1e6

_REQUIRED = ("schema", "width", "height", "fps", "num_frames", "frames")
_OPTIONAL = ("description", "source")


@dataclass(frozen=True)
class KeypointTrack:
    """COCO-WholeBody points of one person in the frames of one video.

    `points` is float64 [frames, 133, 3]: x to the right and y down in pixels of a `width` x
    `height` picture (0 is the left or top edge), score in [0, 1]. Score 0 means missing or outside
    the picture; x and y then mean nothing. `rate` is in frames per second, None for a picture.
    """

    width: int
    height: int
    rate: Fraction | None
    points: NDArray[np.float64] = field(repr=False)

    def __post_init__(self) -> None:
        if self.points.ndim != 3 or self.points.shape[1:] != (POINTS, 3):
            raise ValueError(f"points must be [frames, 133, 3], not {self.points.shape}")

    @property
    def count(self) -> int:
        """Number of frames."""
        return int(self.points.shape[0])

    def select(self, indices: Sequence[int], rate: Fraction | None) -> KeypointTrack:
        """The track of a video made of these frames, played at `rate`."""
        chosen = self.points[np.asarray(indices, dtype=np.intp)]
        return KeypointTrack(self.width, self.height, rate, chosen)


def read_keypoints(path: Path | str) -> KeypointTrack:
    """Read a track file of schema `coco-wholebody-133/1`.

    Raises MediaError, naming the file and the first thing that is wrong with it: not readable, not
    JSON, another schema, a field missing or unknown, a frame that is not 133 finite [x, y, score],
    a score outside [0, 1], sides or places too large to draw.
    """
    path = Path(path)
    content = _json_object(path)
    _check_fields(path, content)
    width, height = (_positive(path, name, content[name]) for name in ("width", "height"))
    if max(width, height) > LARGEST_SIDE_PX:
        raise _unusable(path, f"size {width}x{height}", f"sides up to {LARGEST_SIDE_PX}")
    points = _points(path, content["frames"])
    if content["num_frames"] != len(points):
        raise _unusable(
            path, f"num_frames {content['num_frames']!r}", f"{len(points)}, as many as in 'frames'"
        )
    return KeypointTrack(width, height, _rate(path, content["fps"]), points)


def _unusable(path: Path, given: str, expected: str) -> MediaError:
    return MediaError(
        f"key points {path}: {given}",
        expected=expected,
        action="write the track again with the tool it came from",
        field="keypoints",
    )


def _json_object(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise MediaError(
            f"key points {path} cannot be read: {error.strerror}",
            expected=f"a {SCHEMA} file",
            action="check the path",
            field="keypoints",
        ) from error
    except (ValueError, RecursionError) as error:
        raise _unusable(path, f"not JSON ({error})", f"a {SCHEMA} file") from error
    if not isinstance(content, dict):
        raise _unusable(path, f"a JSON {type(content).__name__}", "an object")
    return content


def _check_fields(path: Path, content: dict[str, object]) -> None:
    if content.get("schema") != SCHEMA:
        raise _unusable(path, f"schema {content.get('schema')!r}", repr(SCHEMA))
    for name in _REQUIRED:
        if name not in content:
            raise _unusable(path, f"no field {name!r}", f"the fields {', '.join(_REQUIRED)}")
    for name in content:
        if name not in _REQUIRED + _OPTIONAL:
            known = ", ".join(_REQUIRED + _OPTIONAL)
            raise _unusable(path, f"unknown field {name!r}", f"only {known}")


def _positive(path: Path, name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _unusable(path, f"{name} {value!r}", "a whole number above 0")
    return value


def _rate(path: Path, value: object) -> Fraction | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2:
        raise _unusable(path, f"fps {value!r}", "[numerator, denominator], or null for a picture")
    return Fraction(*(_positive(path, "fps", part) for part in value))


def _points(path: Path, frames: object) -> NDArray[np.float64]:
    if not isinstance(frames, list) or not frames:
        raise _unusable(path, "no frames", "at least one frame")
    points = np.empty((len(frames), POINTS, 3), dtype=np.float64)
    for index, frame in enumerate(frames):
        try:
            values = np.asarray(frame)
        except ValueError:  # rows of different lengths
            values = np.empty(0)
        # A kind other than a number comes of text, null, nested lists or enormous integers.
        if values.shape != (POINTS, 3) or values.dtype.kind not in "iuf":
            raise _unusable(path, f"frame {index} is of another form", "133 times [x, y, score]")
        points[index] = values
    scores = points[..., 2]
    far = (np.abs(points[..., :2]) > FARTHEST_PX).any(axis=2) & (scores > 0)
    _refuse(path, np.any(~np.isfinite(points), axis=2), "is not finite", "finite numbers")
    _refuse(path, (scores < 0) | (scores > 1), "has wrong scores", "0 to 1")
    _refuse(path, far, "has points far away", f"at most {FARTHEST_PX:.0f} pixels")
    return points


def _refuse(path: Path, faulty: NDArray[np.bool_], fault: str, expected: str) -> None:
    """Name the first frame of `faulty` [frames, 133] that has a faulty point."""
    frames = np.flatnonzero(faulty.any(axis=1))
    if len(frames):
        raise _unusable(path, f"frame {frames[0]} {fault}", expected)
