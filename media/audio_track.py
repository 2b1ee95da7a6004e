"""The sound of a driving video, carried over into an MP4 and cut to the new video's duration."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TypeAlias

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet

from wan_trt.engine.errors import MediaError
from wan_trt.media.video_container import open_container, reason

# What players expect in an MP4; everything else becomes AAC.
_COPIED = frozenset({"aac", "mp3", "mp3float", "ac3", "eac3", "alac"})
_AAC_RATES = frozenset({8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000})
# Encoders start a little early (priming); the edit list of an MP4 hides what lies before zero.
_PRIMING_S = Fraction(1, 10)

TimedPacket: TypeAlias = "tuple[Fraction, Packet[AudioStream]]"
"""When a packet begins, in seconds, and the packet."""


class AudioTrack:
    """Packets of a file's first audio stream, timed from the first picture of its video."""

    def __init__(self, path: Path, container: InputContainer, stream: AudioStream) -> None:
        self._path = path
        self._container = container
        self._stream = stream
        self._origin = _video_start(container)
        self._packets: Iterator[TimedPacket] = iter(())
        self._ahead: TimedPacket | None = None

    def verify(self) -> None:
        """Read the sound once to its end; MediaError where it is damaged."""
        try:
            for packet in self._container.demux(self._stream):
                if packet.is_corrupt:
                    raise MediaError(
                        f"{self._path}: an audio packet is incomplete",
                        expected="sound that is complete to its end",
                        action="copy the file again or go without its sound",
                    )
                if not self._copies:
                    packet.decode()
        except FFmpegError as error:
            raise self._damaged(error) from error

    def attach(self, output: OutputContainer, duration: Fraction) -> None:
        """Add the stream to an output that has not begun; `duration` in seconds cuts it."""
        if self._copies:
            copy = output.add_stream_from_template(self._stream)
            self._packets = self._copied(copy, duration)
        else:
            rate = self._stream.sample_rate
            encoder = output.add_stream("aac", rate=rate if rate in _AAC_RATES else 48000)
            encoder.codec_context.layout = "mono" if self._stream.channels == 1 else "stereo"
            self._packets = self._encoded(encoder, duration)
        self._advance()

    def mux_until(self, output: OutputContainer, time: Fraction) -> None:
        """Write the packets that begin before `time`, in seconds."""
        while self._ahead is not None and self._ahead[0] < time:
            output.mux(self._ahead[1])
            self._advance()

    def close(self) -> None:
        """Close the file the sound comes from; idempotent."""
        self._packets, self._ahead = iter(()), None
        self._container.close()

    @property
    def _copies(self) -> bool:
        return self._stream.codec_context.name in _COPIED

    def _advance(self) -> None:
        try:
            self._ahead = next(self._packets, None)
        except FFmpegError as error:
            raise self._damaged(error) from error

    def _copied(self, output: AudioStream, duration: Fraction) -> Iterator[TimedPacket]:
        """The packets as they are, none of which reaches beyond `duration`."""
        clock = self._stream.time_base or Fraction(1, self._stream.sample_rate)
        shift = round(self._origin / clock)
        for packet in self._container.demux(self._stream):
            if packet.pts is None or packet.size == 0:
                continue
            packet.pts -= shift
            packet.dts = packet.pts
            begin = packet.pts * clock
            if begin + (packet.duration or 0) * clock > duration:
                return
            if begin >= -_PRIMING_S:
                packet.stream = output
                yield begin, packet

    def _encoded(self, encoder: AudioStream, duration: Fraction) -> Iterator[TimedPacket]:
        for frame in chain[AudioFrame | None](self._samples(encoder, duration), [None]):
            for packet in encoder.encode(frame):
                yield (packet.pts or 0) * packet.time_base, packet

    def _samples(self, encoder: AudioStream, duration: Fraction) -> Iterator[AudioFrame]:
        """Decoded sound in the encoder's rate and layout, without what lies outside the video."""
        rate, layout = encoder.sample_rate, encoder.layout.name
        resampler = AudioResampler("fltp", layout, rate)
        limit = int(duration * rate)
        position: int | None = None
        decoded = self._container.decode(self._stream)
        for frame in chain[AudioFrame | None](decoded, [None]):
            if position is None:
                if frame is None:
                    return
                start = (frame.pts or 0) * (frame.time_base or Fraction(0))
                position = round((start - self._origin) * rate)
            for part in resampler.resample(frame):
                samples = part.to_ndarray()
                begin, end = max(0, -position), min(samples.shape[1], limit - position)
                if begin < end:
                    cut = np.ascontiguousarray(samples[:, begin:end], np.float32)
                    kept = AudioFrame.from_ndarray(cut, "fltp", layout)
                    kept.sample_rate, kept.time_base = rate, Fraction(1, rate)
                    kept.pts = position + begin
                    yield kept
                position += samples.shape[1]
            if position >= limit:
                return

    def _damaged(self, error: FFmpegError) -> MediaError:
        return MediaError(
            f"{self._path}: its sound cannot be read ({reason(error)})",
            expected="undamaged sound",
            action="copy the file again or go without its sound",
        )


def open_audio(path: Path, field: str | None = None) -> AudioTrack | None:
    """The sound of a media file, read once to its end; None where the file has no sound.

    Raises MediaError when the file cannot be opened or its sound is damaged.
    """
    track = _open(path, field)
    if track is None:
        return None
    try:
        track.verify()
    finally:
        track.close()
    return _open(path, field)


def require_sound(path: Path, field: str | None = None) -> None:
    """Raise MediaError where the file cannot be opened or has no sound."""
    track = _open(path, field)
    if track is None:
        raise MediaError(
            f"{path}: no sound",
            expected="a file with an audio stream",
            action="choose another file, or leave the option out",
            field=field,
        )
    track.close()


def _open(path: Path, field: str | None) -> AudioTrack | None:
    container = open_container(path, field)
    for stream in container.streams.audio:
        if stream.codec_context is not None:
            return AudioTrack(path, container, stream)
    container.close()
    return None


def _video_start(container: InputContainer) -> Fraction:
    """When the first picture is shown, in seconds on the container's clock."""
    video = container.streams.best("video")
    if video is None or video.start_time is None or video.time_base is None:
        return Fraction(0)
    return video.start_time * video.time_base
