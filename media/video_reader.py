"""Frame-exact random access to a video file in memory that does not grow with its length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from av.error import FFmpegError
from av.packet import Packet
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from wan_trt.engine.errors import MediaError
from wan_trt.media.frame_range import check_range
from wan_trt.media.input_files import require_size
from wan_trt.media.limits import GENEROUS, MediaLimits
from wan_trt.media.orientation import Orientation, parse_display_matrix
from wan_trt.media.video_container import open_container, reason, video_stream
from wan_trt.media.video_index import index_video


class VideoFrames:
    """A FrameSource over a video file.

    The last frame is at hand, and reading on from it continues decoding; any other place is
    reached from the keyframe before it. Rotation and mirroring in the container are applied;
    pixels are taken as square, and frames of variable rate are simply numbered in the order they
    are shown.
    """

    def __init__(
        self, path: Path, field: str | None = None, limits: MediaLimits = GENEROUS
    ) -> None:
        """Raises MediaError when the file is missing, not a video, cut off or empty,
        MediaLimitError when it is too large."""
        self._path = path
        self._field = field
        self._limits = limits
        self._index = index_video(path, field, limits)
        self.count = self._index.count
        self.rate = self._index.rate
        self._container = open_container(path, field, limits)
        self._frames: Iterator[tuple[int, VideoFrame]] = iter(())
        self._position = self.count
        """Frame that decoding would give next; `count` when there is nothing to continue."""
        self._last: tuple[int, VideoFrame] | None = None
        try:
            self._start_over()
            first = self._decode(0)
            self._stored_size = (first.height, first.width)
            self._orientation = self._orientation_of(first)
            self.height, self.width = self._orientation.size(first.height, first.width)
            require_size(path, self.height, self.width, field)
            nbytes = path.stat().st_size
            limits.check_video(path, nbytes, self.count, self.height, self.width, field)
            self._start_over()
        except BaseException:
            self.close()
            raise

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Frames start..stop-1 as uint8 [stop - start, height, width, 3] in RGB.

        Raises MediaError naming the frame that cannot be decoded.
        """
        check_range(start, stop, self.count)
        if stop - start == 1:  # what was converted is handed on: a copy costs much at 1080p
            return np.ascontiguousarray(self._pixels(start, self._frame(start)))[np.newaxis]
        frames = np.empty((stop - start, self.height, self.width, 3), np.uint8)
        for offset in range(stop - start):
            frames[offset] = self._pixels(start + offset, self._frame(start + offset))
        return frames

    def close(self) -> None:
        """Close the file; idempotent."""
        self._frames = iter(())
        self._position = self.count
        self._last = None
        self._container.close()

    def _frame(self, wanted: int) -> VideoFrame:
        if self._last is not None and self._last[0] == wanted:
            return self._last[1]
        key = self._index.keyframe_before(wanted)
        if self._position <= wanted and self._index.keyframes[key] <= self._position:
            return self._decode(wanted)
        if key > 0:
            try:
                self._seek(key)
                return self._decode(wanted)
            except MediaError:
                # Some streams mark places as keyframes that need pictures from before.
                pass
        self._start_over()
        return self._decode(wanted)

    def _start_over(self) -> None:
        """Decode from the first frame, in a container opened anew: exact in every format."""
        self._container.close()
        self._container = open_container(self._path, self._field, self._limits)
        self._stream = video_stream(self._container, self._path, self._field, self._limits)
        self._frames = self._numbered(self._container.demux(self._stream))
        self._position = 0

    def _seek(self, key: int) -> None:
        """Decode from a keyframe or one before it; containers may land too late or too early."""
        timestamps, keyframes = self._index.timestamps, self._index.keyframes
        assert timestamps is not None
        wanted = int(timestamps[keyframes[key]])
        for earlier in range(key, 0, -1):
            try:
                self._container.seek(int(timestamps[keyframes[earlier]]), stream=self._stream)
                packets = self._container.demux(self._stream)
                first = next(packets, None)
            except FFmpegError:
                break
            if first is not None and first.pts is not None and first.pts <= wanted:
                self._frames = self._numbered(chain([first], packets))
                self._position = int(keyframes[earlier])
                return
        self._start_over()

    def _numbered(self, packets: Iterable[Packet[VideoStream]]) -> Iterator[tuple[int, VideoFrame]]:
        """Decoded frames with their numbers, in the order they are shown."""
        count = 0
        for packet in packets:
            for frame in packet.decode():
                if self._index.timestamps is None:
                    yield count, frame
                    count += 1
                elif frame.pts is not None:
                    number = self._index.frame_at(frame.pts)
                    if number is not None:
                        yield number, frame

    def _decode(self, wanted: int) -> VideoFrame:
        """Decode on to frame `wanted`; MediaError when the decoder does not give it, undamaged."""
        detail = "the decoder leaves it out"
        try:
            for number, frame in self._frames:
                if number < wanted:
                    continue
                if number > wanted:
                    break
                if frame.is_corrupt:
                    detail = "its data are damaged"
                    break
                self._position = wanted + 1
                self._last = wanted, frame
                return frame
        except FFmpegError as error:
            detail = reason(error)
        self._frames, self._position = iter(()), self.count
        raise MediaError(
            f"{self._path}: frame {wanted} of {self.count} cannot be decoded ({detail})",
            expected="an undamaged video",
            action="copy or encode it again",
            field=self._field,
        )

    def _pixels(self, number: int, frame: VideoFrame) -> NDArray[np.uint8]:
        if (frame.height, frame.width) != self._stored_size:
            height, width = self._stored_size
            raise MediaError(
                f"{self._path}: frame {number} is {frame.width}x{frame.height} pixels",
                expected=f"{width}x{height} throughout, as at the beginning",
                action="encode it again at one size",
                field=self._field,
            )
        pixels: NDArray[np.uint8] = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
        if frame.format.name == "rgb24":
            pixels = pixels.copy()  # not converted: the decoder may need its own again
        return self._orientation.upright(pixels)

    def _orientation_of(self, frame: VideoFrame) -> Orientation:
        matrix = frame.side_data.get("DISPLAYMATRIX")
        orientation: Orientation | None = Orientation()
        if isinstance(matrix, SideData):
            orientation = parse_display_matrix(bytes(matrix))
        if orientation is None:
            raise MediaError(
                f"{self._path}: the video is to be shown turned by an odd angle",
                expected="a multiple of 90 degrees",
                action="encode it upright",
                field=self._field,
            )
        return orientation
