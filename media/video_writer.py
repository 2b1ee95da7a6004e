"""Frames as H.264 in an MP4, with the sound of the driving video."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.error import FFmpegError, InvalidDataError
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from numpy.typing import NDArray

from wan_trt.engine.errors import ExecutionError, MediaError, WanTrtError
from wan_trt.media.frame_extent import FrameExtent
from wan_trt.media.input_files import require_size
from wan_trt.media.partial_output import FIELD, PartialFile, output_error
from wan_trt.media.reader import SoundFile
from wan_trt.media.sound_writer import SoundWriter
from wan_trt.media.video_container import reason
from wan_trt.media.x264 import x264_options


class VideoWriter:
    """Writes one MP4: libx264, yuv420p, BT.709 and tagged as such, header in front."""

    def __init__(
        self,
        path: Path,
        *,
        height: int,
        width: int,
        frame_count: int,
        rate: Fraction,
        audio_from: SoundFile | None = None,
    ) -> None:
        """`rate` in frames per second is kept exactly, 24000/1001 too.

        The sound of `audio_from`, if it has any, is copied, or encoded as AAC where MP4 players
        would not know it, and ends with the pictures. Raises MediaError for an unwritable place,
        odd sides (yuv420p halves them), an impossible rate, or unreadable sound.
        """
        require_size(path, height, width, FIELD)
        _require_even(path, height, width)
        if rate <= 0 or rate.numerator >= 1 << 31 or rate.denominator >= 1 << 31:
            raise MediaError(
                f"{path}: a rate of {rate} frames per second",
                expected="one that MP4 can hold, such as 30 or 24000/1001",
                action="give the driving video another rate",
                field=FIELD,
            )
        self._extent = FrameExtent(height, width, frame_count)
        self._rate = rate
        self._partial = PartialFile(path)
        self._ended = False
        self._sound: SoundWriter | None = None
        self._partial.create()
        try:
            self._container = self._create()
        except BaseException:
            self._partial.discard()
            raise
        try:
            self._stream = self._container.add_stream("libx264", rate=rate, options=x264_options())
            self._stream.height, self._stream.width = height, width
            self._stream.pix_fmt = "yuv420p"
            context = self._stream.codec_context
            context.time_base = 1 / rate
            context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
            context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
            duration = frame_count / rate
            source = None if audio_from is None else audio_from.open(duration)
            if source is not None:
                self._sound = SoundWriter(source, self._container, duration)
        except BaseException as error:
            self.abort()
            if isinstance(error, FFmpegError):
                raise self._failed(error) from error
            raise

    def write(self, pixels: NDArray[np.uint8]) -> None:
        """Append frames, uint8 [n, height, width, 3] in RGB."""
        first = self._extent.written
        self._extent.accept(pixels.shape)
        try:
            for number, picture in enumerate(pixels, start=first):
                rgb = VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
                frame = rgb.reformat(
                    format="yuv420p",
                    dst_colorspace=Colorspace.ITU709,
                    dst_color_range=ColorRange.MPEG,
                )
                frame.pts, frame.time_base = number, 1 / self._rate
                self._container.mux(self._stream.encode(frame))
                # Interleaving as we go: a muxer waiting for the other stream holds what it has.
                if self._sound is not None:
                    self._sound.mux_until((number + 1) / self._rate)
        except FFmpegError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Finish the file and give it its name; ExecutionError while frames are missing."""
        if self._ended:
            return
        try:
            self._extent.require_complete()
            self._container.mux(self._stream.encode(None))
            self._container.close()
            self._partial.commit()
        except FFmpegError as error:
            raise self._failed(error) from error
        except OSError as error:
            raise output_error(self._partial.target, error) from error
        finally:
            self.abort()

    def abort(self) -> None:
        """Remove the unfinished file; idempotent."""
        self._ended = True
        self._partial.discard()
        if self._sound is not None:
            self._sound.close()
        with contextlib.suppress(FFmpegError):
            self._container.close()
        self._partial.discard()

    def _create(self) -> OutputContainer:
        try:
            return av.open(
                f"file:{self._partial.path}", "w", format="mp4", options={"movflags": "+faststart"}
            )
        except FFmpegError as error:
            raise self._failed(error) from error

    def _failed(self, error: FFmpegError) -> WanTrtError:
        if isinstance(error, OSError):
            return output_error(self._partial.target, error)
        if isinstance(error, InvalidDataError) and self._sound is not None:
            return self._sound.refused(error)
        return ExecutionError(f"{self._partial.target}: encoding failed ({reason(error)})")


def _require_even(path: Path, height: int, width: int) -> None:
    if height % 2 or width % 2:
        raise MediaError(
            f"{path}: frames of {width}x{height} pixels",
            expected="even sides for an .mp4",
            action="write a .png pattern or .safetensors instead",
            field=FIELD,
        )
