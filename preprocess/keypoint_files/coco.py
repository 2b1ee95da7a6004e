"""COCO-WholeBody tracks as JSON, schema `coco-wholebody-133/1`: read and written.

    {"schema": "coco-wholebody-133/1", "width": 1280, "height": 720, "fps": [30, 1],
     "num_frames": 2, "frames": [[[x, y, score], .. 133], ..]}

x and y in pixels, 0 is the left or top edge; score in 0..1, 0 is missing; fps null for a picture.
"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wan_trt.preprocess.keypoint_files.json_files import (
    checked_points,
    checked_size,
    positive,
    unusable,
)
from wan_trt.preprocess.keypoints import POINTS, KeypointTrack

SCHEMA: Final = "coco-wholebody-133/1"
_REQUIRED = ("schema", "width", "height", "fps", "num_frames", "frames")
_OPTIONAL = ("description", "source")


def coco_track(path: Path, content: dict[str, object]) -> KeypointTrack:
    """The track in a file of the schema.

    Raises MediaError, naming the file and the first thing that is wrong with it: another schema, a
    field missing or unknown, a frame that is not 133 finite [x, y, score], a score outside [0, 1],
    sides or places too large to draw.
    """
    _check_fields(path, content)
    width, height = checked_size(path, content["width"], content["height"])
    points = _points(path, content["frames"])
    if content["num_frames"] != len(points):
        raise unusable(
            path, f"num_frames {content['num_frames']!r}", f"{len(points)}, as many as in 'frames'"
        )
    return KeypointTrack(width, height, _rate(path, content["fps"]), points)


def write_keypoints(track: KeypointTrack, path: Path) -> None:
    """Write a track that `read_keypoints` gives back, to 0.001 of a pixel."""
    points = track.points.copy()
    points[..., 2] = points[..., 2].clip(0, 1)
    rate = track.rate
    content = {
        "schema": SCHEMA,
        "source": "wan-trt preprocess",
        "width": track.width,
        "height": track.height,
        "fps": None if rate is None else [rate.numerator, rate.denominator],
        "num_frames": track.count,
        "frames": points.round(3).tolist(),
    }
    path.write_text(json.dumps(content, separators=(",", ":")) + "\n")


def _check_fields(path: Path, content: dict[str, object]) -> None:
    if content.get("schema") != SCHEMA:
        raise unusable(path, f"schema {content.get('schema')!r}", repr(SCHEMA))
    for name in _REQUIRED:
        if name not in content:
            raise unusable(path, f"no field {name!r}", f"the fields {', '.join(_REQUIRED)}")
    for name in content:
        if name not in _REQUIRED + _OPTIONAL:
            known = ", ".join(_REQUIRED + _OPTIONAL)
            raise unusable(path, f"unknown field {name!r}", f"only {known}")


def _rate(path: Path, value: object) -> Fraction | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2:
        raise unusable(path, f"fps {value!r}", "[numerator, denominator], or null for a picture")
    return Fraction(*(positive(path, "fps", part) for part in value))


def _points(path: Path, frames: object) -> NDArray[np.float64]:
    if not isinstance(frames, list) or not frames:
        raise unusable(path, "no frames", "at least one frame")
    points = np.empty((len(frames), POINTS, 3), dtype=np.float64)
    for index, frame in enumerate(frames):
        try:
            values = np.asarray(frame)
        except ValueError:  # rows of different lengths
            values = np.empty(0)
        # A kind other than a number comes of text, null, nested lists or enormous integers.
        if values.shape != (POINTS, 3) or values.dtype.kind not in "iuf":
            raise unusable(path, f"frame {index} is of another form", "133 times [x, y, score]")
        points[index] = values
    return checked_points(path, points)
