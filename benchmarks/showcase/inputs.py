"""What the demonstration's video is made from: a photograph, and how a person moved."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wan_trt.engine.frames import FrameSource
from wan_trt.media import open_pixel_writer
from wan_trt.preprocess import KeypointTrack, Options, prepare, read_keypoints

KEYPOINTS = Path(__file__).parents[2] / "assets" / "keypoints" / "animate.coco133.json"
FACE_SIZE = 256
_LEFT_OF_PERSON = 817  # pixels of the driver, who stands right of its middle
_EVERY = 2  # of the driver's frames: 15 a second


@dataclass(frozen=True)
class Inputs:
    """Files for a request, and the frames they hold."""

    reference: Path
    pose: Path
    face: Path
    picture: NDArray[np.uint8]
    poses: FrameSource
    faces: FrameSource
    rate: Fraction


def write_inputs(folder: Path, side: int, frames: int) -> Inputs:
    """A square video of `side` pixels: reference.png, pose.mp4 and face.mp4 in `folder`.

    The photograph is NASA's portrait of Eileen Collins, which scikit-image carries. The person's
    key points are drawn, the body as a skeleton and the face as a simple face.
    """
    from skimage.data import astronaut

    picture = np.ascontiguousarray(astronaut())  # type: ignore[no-untyped-call]
    Image.fromarray(picture).save(folder / "reference.png")
    track = _square(read_keypoints(KEYPOINTS), side)
    options = Options(size=(side, side), frame_limit=frames, face_size=FACE_SIZE)
    prepared = prepare(picture, track, None, options)
    assert prepared.pose.rate is not None
    pose, face = folder / "pose.mp4", folder / "face.mp4"
    _write(pose, prepared.pose)
    _write(face, prepared.face)
    return Inputs(
        folder / "reference.png",
        pose,
        face,
        picture,
        prepared.pose,
        prepared.face,
        prepared.pose.rate,
    )


def _square(track: KeypointTrack, side: int) -> KeypointTrack:
    """The square around the person, as high as the driver's picture, every other frame."""
    rate = None if track.rate is None else track.rate / _EVERY
    track = track.select(range(0, track.count, _EVERY), rate)
    points = track.points.copy()
    points[..., 0] -= _LEFT_OF_PERSON
    points[..., :2] *= side / track.height
    return KeypointTrack(side, side, track.rate, points)


def _write(path: Path, source: FrameSource) -> None:
    writer = open_pixel_writer(
        path,
        height=source.height,
        width=source.width,
        frame_count=source.count,
        rate=source.rate,
    )
    writer.write(source.read(0, source.count))
    writer.close()
