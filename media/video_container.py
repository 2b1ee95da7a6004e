"""Opening containers with libav, safely: local files of known formats, no playlists."""

from __future__ import annotations

import math
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream

from wan_trt.engine.errors import MediaError
from wan_trt.media.input_files import one_line, require_file
from wan_trt.media.limits import GENEROUS, MediaLimits

# Playlist formats (hls, concat, dash, image2) are left out: a hostile file of theirs names others.
_FORMATS = (
    "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,obu,ivf,flv,asf,ogg,gif,apng,"
    "mxf,nut,dv,yuv4mpegpipe,wav,mp3,aac,flac"
)


def open_container(path: Path, field: str | None, limits: MediaLimits = GENEROUS) -> InputContainer:
    """Open a media file for reading; raises MediaError when it is missing or not one."""
    require_file(path, field, limits)
    try:
        # The prefix keeps a name such as "a:b.mp4" from being taken for a protocol.
        return av.open(
            f"file:{path}",
            "r",
            container_options={"format_whitelist": _FORMATS, "protocol_whitelist": "file"},
            metadata_errors="replace",
        )
    except (FFmpegError, OSError) as error:
        raise MediaError(
            f"{path}: not a video that can be opened ({reason(error)})",
            expected="an MP4 or another video file, complete to its end",
            action="copy it again or convert it to MP4",
            field=field,
        ) from error


def video_stream(
    container: InputContainer, path: Path, field: str | None, limits: MediaLimits = GENEROUS
) -> VideoStream:
    """The container's main video stream; raises MediaError where there is none to decode.

    Frames above the limit are refused by what the header says, and by the decoder where the stream
    itself says otherwise.
    """
    stream = container.streams.best("video")
    cover = stream is not None and bool(stream.disposition & Disposition.attached_pic)
    if not isinstance(stream, VideoStream) or cover:
        raise MediaError(
            f"{path}: no video stream",
            expected="a file with moving pictures",
            action="check that the file is the right one and complete",
            field=field,
        )
    if not hasattr(stream, "codec_context") or stream.codec_context is None:
        raise MediaError(
            f"{path}: a video stream of an unknown codec",
            expected="a codec that FFmpeg decodes",
            action="convert it to H.264",
            field=field,
        )
    limits.check_frame(path, stream.codec_context.height, stream.codec_context.width, field)
    if math.isfinite(limits.frame_pixels):
        stream.codec_context.options = {"max_pixels": str(int(limits.frame_pixels))}
    stream.thread_type = "AUTO"
    return stream


def reason(error: BaseException) -> str:
    """libav's own words for an error, without the file name."""
    text = error.strerror if isinstance(error, FFmpegError) else None
    return text or one_line(error)
