"""Outlines by segmentation: which frames are prompted, and with which points."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wan_trt.preprocess.poses import PoseTrack

CHUNK_FRAMES: Final = 400
_PROMPTED = 4
# Nose, neck, shoulders, hips and ankles.
_JOINTS = (0, 1, 2, 5, 8, 11, 10, 13)


@dataclass(frozen=True)
class OutlineChunk:
    """Frames start..stop-1, segmented by themselves, and their `prompted` ones, counted in the
    video. No memory is carried from one chunk to the next (upstream): its length is bounded."""

    start: int
    stop: int
    prompted: tuple[int, ...]


def outline_chunks(count: int) -> Iterator[OutlineChunk]:
    """Upstream's chunks of 400 frames with prompts every quarter of them.

    The quarter is rounded down, so that a fifth frame or more may be prompted; a chunk of at most
    four frames has one.
    """
    for start in range(0, count, CHUNK_FRAMES):
        stop = min(start + CHUNK_FRAMES, count)
        frames = stop - start
        step = frames // (_PROMPTED if frames > _PROMPTED else 1)
        yield OutlineChunk(start, stop, tuple(range(start, stop, step)))


def prompt_points(poses: PoseTrack, frame: int) -> NDArray[np.float64]:
    """float64 [n, 2]: whole pixels of the body's joints, the unsure ones too (upstream), but not
    those that are missing."""
    joints = poses.body[frame, list(_JOINTS)]
    found = joints[joints[:, 2] > 0, :2]
    return np.trunc(found * (poses.width, poses.height))
