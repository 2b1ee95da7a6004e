"""The sound of a media file, cut to the duration of a new video."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet

from wan_trt.engine.errors import MediaError
from wan_trt.media.limits import GENEROUS, MediaLimits
from wan_trt.media.sound import (
    AAC_RATES,
    BATCH_NBYTES,
    BATCH_PARTS,
    COPIED_CODECS,
    PRIMING_S,
    SoundFormat,
    SoundPart,
    in_order,
    sound_error,
)
from wan_trt.media.video_container import open_container, reason

_BLOCK_SAMPLES = 1 << 15
_OTHER_RATE = 48000
_LOUDEST = 1e6  # of full scale: encoders refuse what is far above


class FileSound:
    """A SoundSource: a file's first audio stream, timed from the first picture of its video."""

    def __init__(
        self,
        path: Path,
        container: InputContainer,
        stream: AudioStream,
        duration: Fraction,
        field: str | None,
    ) -> None:
        """Raises MediaError for sound that no output could have."""
        self.path, self.field = path, field
        self._container = container
        self._stream = stream
        self._duration = duration
        try:
            self.format = _format(stream)
        except ValueError as error:
            raise sound_error(path, field, str(error)) from error
        self._packets = self._demuxed()
        parts = self._samples() if self.format.codec is None else self._copied()
        self._parts = in_order(parts, self.format, duration, path, field)

    def read(self) -> list[SoundPart]:
        """See SoundSource."""
        parts: list[SoundPart] = []
        nbytes = 0
        try:
            for part in self._parts:
                parts.append(part)
                nbytes += len(part.content)
                if nbytes >= BATCH_NBYTES or len(parts) == BATCH_PARTS:
                    break
        except FFmpegError as error:
            raise self._damaged(error) from error
        return parts

    def verify(self) -> None:
        """Read all of it, and what lies behind the cut too; MediaError where it is damaged."""
        while self.read():
            pass
        try:
            for packet in self._packets:
                if self.format.codec is None:
                    packet.decode()
        except FFmpegError as error:
            raise self._damaged(error) from error

    def close(self) -> None:
        """Close the file; idempotent."""
        self._parts = iter(())
        self._container.close()

    def _demuxed(self) -> Iterator[Packet[AudioStream]]:
        for packet in self._container.demux(self._stream):
            if packet.is_corrupt:
                raise sound_error(self.path, self.field, "an audio packet is incomplete")
            yield packet

    def _copied(self) -> Iterator[SoundPart]:
        """The packets as they are, none of which reaches beyond the duration."""
        clock = self.format.clock
        shift = round(_video_start(self._container) / clock)
        for packet in self._packets:
            if packet.pts is None or packet.size == 0:
                continue
            begin, duration = packet.pts - shift, packet.duration or 0
            if (begin + duration) * clock > self._duration:
                return
            if begin * clock >= -PRIMING_S:
                yield SoundPart(begin, duration, bytes(packet))

    def _samples(self) -> Iterator[SoundPart]:
        """Decoded sound in a rate and layout of AAC, without what lies outside the video."""
        rate, layout = self.format.rate, self.format.layout
        origin = _video_start(self._container)
        resampler = AudioResampler("fltp", layout, rate)
        limit = int(self._duration * rate)
        position: int | None = None
        decoded = (frame for packet in self._packets for frame in packet.decode())
        for frame in chain[AudioFrame | None](decoded, [None]):
            if position is None:
                if frame is None:
                    return
                start = (frame.pts or 0) * (frame.time_base or Fraction(0))
                position = round((start - origin) * rate)
            for resampled in resampler.resample(frame):
                samples = resampled.to_ndarray()
                end = min(samples.shape[1], limit - position)
                for begin in range(max(0, -position), end, _BLOCK_SAMPLES):
                    block = samples[:, begin : min(end, begin + _BLOCK_SAMPLES)].astype(np.float32)
                    if not np.abs(block).max() < _LOUDEST:  # NaN is not
                        raise sound_error(self.path, self.field, "its samples are no sound")
                    yield SoundPart(position + begin, block.shape[1], block.tobytes())
                position += samples.shape[1]
            if position >= limit:
                return

    def _damaged(self, error: FFmpegError) -> MediaError:
        return sound_error(self.path, self.field, f"its sound cannot be read ({reason(error)})")


def open_sound(
    path: Path | str,
    duration: Fraction,
    *,
    field: str | None = None,
    limits: MediaLimits = GENEROUS,
) -> FileSound | None:
    """The sound of a media file, read once to its end, and cut at `duration` seconds from the first
    picture on; None where the file has no sound.

    Raises MediaError when the file cannot be opened or its sound is damaged.
    """
    sound = _open(Path(path), duration, field, limits)
    if sound is None:
        return None
    try:
        sound.verify()
    finally:
        sound.close()
    return _open(Path(path), duration, field, limits)


def require_sound(path: Path, field: str | None = None) -> None:
    """Raise MediaError where the file cannot be opened or has no sound."""
    sound = _open(path, Fraction(0), field, GENEROUS)
    if sound is None:
        raise MediaError(
            f"{path}: no sound",
            expected="a file with an audio stream",
            action="choose another file, or leave the option out",
            field=field,
        )
    sound.close()


def _open(
    path: Path, duration: Fraction, field: str | None, limits: MediaLimits
) -> FileSound | None:
    container = open_container(path, field, limits)
    try:
        for stream in container.streams.audio:
            if stream.codec_context is not None:
                return FileSound(path, container, stream, duration, field)
    except BaseException:
        container.close()
        raise
    container.close()
    return None


def _format(stream: AudioStream) -> SoundFormat:
    """Raises ValueError for what cannot be."""
    context, rate = stream.codec_context, stream.sample_rate
    codec = context.codec.canonical_name
    if codec not in COPIED_CODECS:
        aac_rate = rate if rate in AAC_RATES else _OTHER_RATE
        layout = "mono" if stream.channels == 1 else "stereo"
        return SoundFormat(None, aac_rate, layout, Fraction(1, aac_rate))
    return SoundFormat(
        codec,
        rate,
        context.layout.name,
        stream.time_base or Fraction(1, max(1, rate)),
        context.extradata or b"",
        context.bit_rate or None,
    )


def _video_start(container: InputContainer) -> Fraction:
    """When the first picture is shown, in seconds on the container's clock."""
    video = container.streams.best("video")
    if video is None or video.start_time is None or video.time_base is None:
        return Fraction(0)
    return video.start_time * video.time_base
