"""How a long video becomes chained segments: pure arithmetic over frame numbers.

Every segment runs the model over `frames` driver frames. Segments overlap: the last `overlap`
decoded frames of one go into the next as given frames and are not kept a second time.

    overlap 1, 13 frames a segment, 30 driver frames

    padded driver   0 ............ 12 ............ 24 ............ 36
    segment 0       [0 ......... 12]
    segment 1                   [12 .......... 24]      12 is carried over, 13..24 are kept
    segment 2                                [24 .......... 36]      25..29 are kept

The driver is padded to a whole number of segments by running it back and forth (0..n-1, n-2..0,
1..), and the surplus is cut from the result. This is the official pipeline's rule, with its
crashes turned into errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.errors import InputError
from wan_trt.engine.frames import FrameSource

OVERLAPS = (1, 5)
TIME_STRIDE = 4


def ping_pong(position: int, count: int) -> int:
    """Frame shown at `position` of a clip of `count` frames that runs back and forth forever."""
    if count == 1:
        return 0
    period = 2 * (count - 1)
    place = position % period
    return place if place < count else period - place


def clip_chunks(frames: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of the VAE's chunks over a clip: 1 frame, then 4, 4, .. frames."""
    start = 0
    while start < frames:
        stop = start + (TIME_STRIDE if start else 1)
        yield start, min(stop, frames)
        start = stop


@dataclass(frozen=True)
class Segment:
    """One pass of the model over `frames` frames of the padded driver, from `start` on.

    Of the decoded frames, 0 .. carried-1 were given (the tail of the segment before) and are
    dropped; carried .. kept_stop-1 are output.
    """

    index: int
    start: int
    frames: int
    carried: int
    kept_stop: int

    @property
    def latents(self) -> int:
        """Latent frames of the video, without the reference latent."""
        return (self.frames - 1) // TIME_STRIDE + 1

    @property
    def kept(self) -> int:
        """Number of output frames."""
        return self.kept_stop - self.carried

    def driver_frames(self, count: int, start: int = 0, stop: int | None = None) -> list[int]:
        """Indices into a driver of `count` frames for the segment's frames start..stop-1."""
        end = self.frames if stop is None else stop
        return [ping_pong(self.start + offset, count) for offset in range(start, end)]


@dataclass(frozen=True)
class SegmentPlan:
    """All segments of one job. `target` is the length of the padded driver."""

    frame_count: int
    overlap: int
    target: int
    segments: tuple[Segment, ...]


def plan_segments(frame_count: int, segment_frames: int, overlap: int) -> SegmentPlan:
    """Plan a driver of `frame_count` frames.

    Raises InputError when the model cannot be run that way; `field` names the setting at fault.
    """
    if overlap not in OVERLAPS:
        raise InputError(
            f"{overlap} frames", expected="1 or 5", action="choose one of them", field="overlap"
        )
    if segment_frames % TIME_STRIDE != 1 or segment_frames <= overlap:
        least = TIME_STRIDE * (overlap // TIME_STRIDE + 1) + 1
        raise InputError(
            f"{segment_frames} frames",
            expected=f"4n+1, at least {least} with an overlap of {overlap}",
            action=f"use {max(least, segment_frames // TIME_STRIDE * TIME_STRIDE + 1)}",
            field="segment_frames",
        )
    if frame_count <= overlap:
        raise InputError(
            f"{frame_count} frames",
            expected=f"more than the overlap of {overlap}",
            action="give a longer driving video"
            + (" or an overlap of 1" if frame_count > 1 else ""),
            field="pose",
        )
    stride = segment_frames - overlap
    surplus = (frame_count - overlap) % stride
    target = frame_count + (stride - surplus if surplus else 0)
    if segment_frames < 2 * overlap and target > overlap + 2 * stride:
        # A segment that is between two others must bring forth all that it hands on.
        enough = TIME_STRIDE * -(-(2 * overlap - 1) // TIME_STRIDE) + 1
        raise InputError(
            f"{segment_frames} frames for a driving video of {frame_count}",
            expected=f"at least {enough} with an overlap of {overlap}, or at most two segments, "
            f"which {overlap + 2 * stride} frames make",
            action=f"use {enough}",
            field="segment_frames",
        )
    segments = []
    for index, start in enumerate(range(0, target - overlap, stride)):
        segments.append(
            Segment(
                index=index,
                start=start,
                frames=segment_frames,
                carried=overlap if index else 0,
                kept_stop=min(segment_frames, frame_count - start),
            )
        )
    return SegmentPlan(frame_count, overlap, target, tuple(segments))


def plan_clip(frames: int) -> SegmentPlan:
    """A video that is made in one pass and kept whole, 4n+1 frames. Raises InputError."""
    if frames < 1 or frames % TIME_STRIDE != 1:
        raise InputError(
            f"{frames} frames",
            expected="4n+1, at least 1",
            action=f"use {max(1, frames // TIME_STRIDE * TIME_STRIDE + 1)}",
            field="frames",
        )
    segment = Segment(index=0, start=0, frames=frames, carried=0, kept_stop=frames)
    return SegmentPlan(frames, 0, frames, (segment,))


def read_frames(source: FrameSource, segment: Segment, start: int, stop: int) -> NDArray[np.uint8]:
    """Frames start..stop-1 of a segment, uint8 [stop - start, height, width, 3].

    The source is read as one contiguous range that covers them, so sources that decode forward
    are not made to jump within a chunk. Memory is that of the chunk, whatever the video's length.
    """
    indices = segment.driver_frames(source.count, start, stop)
    first = min(indices)
    frames = source.read(first, max(indices) + 1)
    if indices == list(range(first, first + len(indices))):
        return frames
    return frames[[index - first for index in indices]]
