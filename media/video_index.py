"""Where each frame of a video is: one pass over its packets, without decoding."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream
from numpy.typing import NDArray

from wan_trt.engine.errors import MediaError
from wan_trt.media.limits import GENEROUS, MediaLimits
from wan_trt.media.video_container import open_container, reason, video_stream

_FINE_CLOCK = Fraction(1, 10000)
# VP8 stores pictures that are never shown in packets of their own.
_HIDDEN_PACKETS = frozenset({"vp8"})
# AVI and raw streams have no timestamps, program streams one now and then: libav fills in guesses,
# which depend on where reading began.
_CLOCKLESS = frozenset({"avi", "mpeg", "mpegvideo", "m4v", "h264", "hevc"})


@dataclass(frozen=True)
class VideoIndex:
    """Frames in the order they are shown; frame i is the one with the i-th smallest timestamp.

    `timestamps` is int64 [count] in units of the stream's time base, strictly ascending, or None
    for streams whose packets do not tell (AVI, raw H.264, VP8): their frames are found by counting
    from the beginning. `keyframes` is int64, ascending: frames at which decoding can start.
    """

    count: int
    rate: Fraction | None
    timestamps: NDArray[np.int64] | None
    keyframes: NDArray[np.int64]

    def keyframe_before(self, frame: int) -> int:
        """Position in `keyframes` of the last one at or before `frame`."""
        return int(np.searchsorted(self.keyframes, frame, side="right")) - 1

    def frame_at(self, timestamp: int) -> int | None:
        """The frame with exactly this timestamp."""
        assert self.timestamps is not None
        frame = int(np.searchsorted(self.timestamps, timestamp))
        found = frame < self.count and self.timestamps[frame] == timestamp
        return frame if found else None


def index_video(path: Path, field: str | None = None, limits: MediaLimits = GENEROUS) -> VideoIndex:
    """Index a video in memory of about 16 bytes a frame.

    Raises MediaError when it has no frames, cannot be read, or ends before its own index says,
    MediaLimitError as soon as there is too much of it.
    """
    try:
        with open_container(path, field, limits) as container:
            stream = video_stream(container, path, field, limits)
            limits.check_count(path, max(stream.frames, len(stream.index_entries)), field)
            if container.duration is not None:
                limits.check_duration(path, container.duration / av.time_base, field)
            index = _from_packets(container, stream, path, field, limits)
        if index is None:
            with open_container(path, field, limits) as container:
                stream = video_stream(container, path, field, limits)
                index = _by_counting(container, stream, path, field, limits)
    except FFmpegError as error:
        raise _truncated(path, reason(error), field) from error
    if index.count == 0:
        raise MediaError(
            f"{path}: a video without frames",
            expected="at least one frame",
            action="check that the file is complete",
            field=field,
        )
    return index


def _from_packets(
    container: InputContainer,
    stream: VideoStream,
    path: Path,
    field: str | None,
    limits: MediaLimits,
) -> VideoIndex | None:
    """The index by timestamps; None where the packets do not tell the frames."""
    announced = len(stream.index_entries)
    shown, keys = array("q"), array("q")
    packets = 0
    complete = stream.codec_context.name not in _HIDDEN_PACKETS
    complete &= container.format.name not in _CLOCKLESS
    for packet in container.demux(stream):
        if packet.size == 0:  # libav's mark of the end
            continue
        packets += 1
        limits.check_count(path, len(shown), field)
        if packet.is_corrupt:
            raise _truncated(path, f"packet {packets} is incomplete", field)
        if packet.pts is None:
            complete = False
        else:
            # An edit list may hide a keyframe and show what depends on it.
            if packet.is_keyframe:
                keys.append(packet.pts)
            if not packet.is_discard:
                shown.append(packet.pts)
    if packets < announced:
        raise _truncated(path, f"{packets} of {announced} packets are there", field)
    if not complete or not keys:
        return None
    timestamps, key_times = np.unique(np.array(shown, np.int64)), np.array(keys, np.int64)
    if len(timestamps) != len(shown) or (np.diff(key_times) <= 0).any():
        return None  # the clock jumps, as where recordings were joined
    # A stream cut out of a broadcast begins with frames that nothing can decode.
    timestamps = timestamps[timestamps >= key_times[0]]
    keyframes = np.unique(np.searchsorted(timestamps, key_times))
    keyframes = keyframes[keyframes < len(timestamps)]
    if len(timestamps) > 1 and stream.time_base is not None:
        duration = int(timestamps[-1]) - int(timestamps[0])
        limits.check_duration(path, float(duration * stream.time_base), field)
    return VideoIndex(len(timestamps), _rate(stream, timestamps), timestamps, keyframes)


def _by_counting(
    container: InputContainer,
    stream: VideoStream,
    path: Path,
    field: str | None,
    limits: MediaLimits,
) -> VideoIndex:
    count = 0
    for _ in container.decode(stream):
        count += 1
        limits.check_count(path, count, field)
    return VideoIndex(count, stream.guessed_rate or stream.average_rate, None, np.zeros(1, int))


def _rate(stream: VideoStream, timestamps: NDArray[np.int64]) -> Fraction | None:
    """Frames per second: exact from evenly spaced timestamps, else the container's average.

    A coarse clock (Matroska counts milliseconds) rounds each timestamp, so its steps are not
    asked. MP4 averages in decoding order: where that is off by more than a frame over the whole
    video, as happens at variable rate, the timestamps' own average is better.
    """
    declared, clock = stream.average_rate or stream.guessed_rate, stream.time_base
    if len(timestamps) < 2 or clock is None:
        return declared
    steps = np.unique(np.diff(timestamps))
    intervals = len(timestamps) - 1
    measured = intervals / (int(timestamps[-1] - timestamps[0]) * clock)
    if len(steps) == 1 and clock <= _FINE_CLOCK:
        return measured
    if declared is None or abs(declared - measured) * intervals > measured:
        return measured
    return declared


def _truncated(path: Path, detail: str, field: str | None) -> MediaError:
    return MediaError(
        f"{path}: the video is damaged or cut off ({detail})",
        expected="a video that is complete to its end",
        action="copy or encode it again",
        field=field,
    )
