"""Sound on its way into an MP4: packets are copied, samples become AAC."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from typing import TypeAlias, cast

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.error import ArgumentError, FFmpegError, InvalidDataError
from av.packet import Packet

from wan_trt.engine.errors import MediaError
from wan_trt.media.sound import SAMPLE_LAYOUTS, SoundSource, all_parts, in_order, sound_error
from wan_trt.media.video_container import reason

TimedPacket: TypeAlias = "tuple[Fraction, Packet[AudioStream]]"
"""When a packet begins, in seconds, and the packet."""


class SoundWriter:
    """Nothing of a codec's is decoded or opened here: what comes may be anybody's."""

    def __init__(self, source: SoundSource, output: OutputContainer, duration: Fraction) -> None:
        """Add the stream to an output that has not begun; from now on `source` is closed here.
        Raises MediaError where its sound cannot be had."""
        self._source = source
        self._output = output
        self._parts = in_order(
            all_parts(source), source.format, duration, source.path, source.field
        )
        try:
            packets = self._encoded if source.format.codec is None else self._copied
            self._packets: Iterator[TimedPacket] = packets()
            self._ahead: TimedPacket | None = None
            self._advance()
        except BaseException:
            source.close()
            raise

    def mux_until(self, time: Fraction) -> None:
        """Write the packets that begin before `time`, in seconds. Raises MediaError for what no MP4
        can hold."""
        while self._ahead is not None and self._ahead[0] < time:
            self._advance()

    def refused(self, error: FFmpegError) -> MediaError:
        """What to raise where the muxer will not have a packet: this one, or one before it."""
        fault = f"its sound does not fit into an MP4 ({reason(error)})"
        return sound_error(self._source.path, self._source.field, fault)

    def close(self) -> None:
        """Close the source; idempotent."""
        self._packets, self._ahead = iter(()), None
        self._source.close()

    def _advance(self) -> None:
        """Write the packet that is ahead, and make ready the one after it."""
        try:
            if self._ahead is not None:
                self._output.mux(self._ahead[1])
            self._ahead = next(self._packets, None)
        except (ArgumentError, InvalidDataError) as error:
            raise self.refused(error) from error

    def _copied(self) -> Iterator[TimedPacket]:
        form = self._source.format
        assert form.codec is not None
        stream = self._output.add_stream_from_template(_template(form.codec))
        context = stream.codec_context
        context.sample_rate, context.layout = form.rate, form.layout
        context.extradata, context.bit_rate = form.extradata or None, form.bit_rate or 0
        stream.time_base = form.clock
        for part in self._parts:
            packet = cast("Packet[AudioStream]", Packet(part.content))
            packet.stream, packet.time_base = stream, form.clock
            packet.pts = packet.dts = part.begin
            packet.duration, packet.is_keyframe = part.duration, True
            yield part.begin * form.clock, packet

    def _encoded(self) -> Iterator[TimedPacket]:
        form = self._source.format
        encoder = self._output.add_stream("aac", rate=form.rate)
        encoder.codec_context.layout = form.layout
        for frame in chain[AudioFrame | None](self._frames(), [None]):
            for packet in encoder.encode(frame):
                yield (packet.pts or 0) * packet.time_base, packet

    def _frames(self) -> Iterator[AudioFrame]:
        form = self._source.format
        for part in self._parts:
            samples = np.frombuffer(part.content, np.float32)
            samples = samples.reshape(SAMPLE_LAYOUTS[form.layout], -1)
            frame = AudioFrame.from_ndarray(samples, "fltp", form.layout)
            frame.sample_rate, frame.time_base, frame.pts = form.rate, form.clock, part.begin
            yield frame


def _template(codec: str) -> AudioStream:
    """A stream of the codec, in a container that is never written."""
    container = av.open(io.BytesIO(), "w", format="mp4")
    stream = cast(AudioStream, container.add_stream(codec))
    if codec == "alac":  # only its encoder sets the bits of a sample, which the MP4 tells
        stream.codec_context.format = "s32p"
        container.start_encoding()
    return stream
