"""Outlines of a whole video, small enough to be kept."""

from __future__ import annotations

import zlib
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.frames import FrameSource
from wan_trt.media.frame_range import check_range
from wan_trt.preprocess.contracts import OutlineTracker
from wan_trt.preprocess.masks import paint_white
from wan_trt.preprocess.outline_chunks import outline_chunks, prompt_points
from wan_trt.preprocess.poses import PoseTrack
from wan_trt.preprocess.progress import OnProgress, Progress, ignore_progress

# Fast; an outline is long runs of the same bit anyway.
_LEVEL = 1


class StoredOutlines:
    """A FrameSource of mattes (white = person), kept as compressed bits: a few kB a frame."""

    def __init__(self, height: int, width: int, rate: Fraction | None) -> None:
        self.height, self.width, self.rate = height, width, rate
        self._packed: list[bytes] = []

    @property
    def count(self) -> int:
        return len(self._packed)

    @property
    def nbytes(self) -> int:
        """Bytes kept."""
        return sum(len(packed) for packed in self._packed)

    def add(self, outline: NDArray[np.uint8]) -> None:
        """The next frame's, uint8 [height, width] of 0 and 1."""
        if outline.shape != (self.height, self.width):
            raise ValueError(f"outline {outline.shape} for {self.height, self.width}")
        self._packed.append(zlib.compress(np.packbits(outline).tobytes(), _LEVEL))

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        check_range(start, stop, self.count)
        frames = np.empty((stop - start, self.height, self.width, 3), dtype=np.uint8)
        for offset, packed in enumerate(self._packed[start:stop]):
            bits = np.frombuffer(zlib.decompress(packed), dtype=np.uint8)
            outline = np.unpackbits(bits, count=self.height * self.width)
            paint_white(frames[offset], outline.reshape(self.height, self.width))
        return frames

    def close(self) -> None:
        """Nothing is held open."""


class _Part:
    """Frames start.. of another source, numbered from 0."""

    def __init__(self, source: FrameSource, start: int, stop: int) -> None:
        self._source, self._start = source, start
        self.count, self.rate = stop - start, source.rate
        self.height, self.width = source.height, source.width

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        check_range(start, stop, self.count)
        return self._source.read(self._start + start, self._start + stop)

    def close(self) -> None:
        """The source stays open."""


def segment_person(
    frames: FrameSource,
    poses: PoseTrack,
    tracker: OutlineTracker,
    on_progress: OnProgress = ignore_progress,
) -> StoredOutlines:
    """The outlines of the person whose `poses`, in pixels of the frames, are known.

    A frame to prompt in which no joint was found gives no prompt; the outlines before the first
    prompt of a chunk, or of a chunk without any, are empty: nothing is replaced there.
    """
    stored = StoredOutlines(frames.height, frames.width, frames.rate)
    for chunk in outline_chunks(frames.count):
        points = {
            frame - chunk.start: prompt_points(poses, frame)
            for frame in chunk.prompted
            if (poses.body[frame, :, 2] > 0).any()
        }
        points = {frame: places for frame, places in points.items() if len(places)}
        part = _Part(frames, chunk.start, chunk.stop)
        for outline in tracker.outlines(part, points):
            stored.add(outline)
            on_progress(Progress("masks", stored.count, frames.count))
    return stored
