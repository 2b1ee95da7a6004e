"""The sound of a video as plain data, which one process may tell another: a format, and parts.

SoundSource.read() -> [part, part, ...] -> ... -> []
                        packets of a codec that an MP4 holds, to be copied; or samples
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from av.audio.layout import AudioLayout

from wan_trt.engine.errors import MediaError

COPIED_CODECS = frozenset({"aac", "mp3", "ac3", "eac3", "alac"})
"""What players expect in an MP4; everything else becomes AAC."""
AAC_RATES = frozenset({8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000})
SAMPLE_LAYOUTS = {"mono": 1, "stereo": 2}
"""Channels of the layouts that samples may have."""
SAMPLE_NBYTES = 4
PRIMING_S = Fraction(1, 10)
"""Encoders start a little early (priming); the edit list of an MP4 hides what lies before zero."""
PART_NBYTES = 1 << 20
BATCH_NBYTES = 1 << 18
BATCH_PARTS = 512
"""A batch ends with the part that reaches one of the two."""

_MAX_RATE = 768_000
_MAX_EXTRADATA = 1 << 14
_MAX_INTEGER = 1 << 31
# Fewer than in the packets of any of the codecs: muxers keep something of every packet.
_PACKET_SAMPLES = 64


@dataclass(frozen=True)
class SoundFormat:
    """`codec`: whose packets the parts are; None where they are samples, float32 [channels, n].

    `rate` in Hz; `layout` of the channels as libav names it; `clock`: the unit, in seconds, of the
    parts' times. `extradata` and `bit_rate` are the codec's. Raises ValueError for what is none.
    """

    codec: str | None
    rate: int
    layout: str
    clock: Fraction
    extradata: bytes = b""
    bit_rate: int | None = None

    def __post_init__(self) -> None:
        if self.codec is not None and self.codec not in COPIED_CODECS:
            raise ValueError(f"sound of codec {self.codec}")
        if type(self.rate) is not int or not 1 <= self.rate <= _MAX_RATE:
            raise ValueError(f"sound of {self.rate} Hz")
        if self.codec is None and (self.rate not in AAC_RATES or self.layout not in SAMPLE_LAYOUTS):
            raise ValueError(f"samples of {self.rate} Hz, {self.layout}")
        AudioLayout(self.layout)  # raises ValueError for what names none
        if not (0 < self.clock.numerator < _MAX_INTEGER > self.clock.denominator):
            raise ValueError(f"sound with a clock of {self.clock} s")
        if len(self.extradata) > _MAX_EXTRADATA:
            raise ValueError(f"{len(self.extradata)} bytes of extradata")
        if self.bit_rate is not None and not 0 <= self.bit_rate < _MAX_INTEGER:
            raise ValueError(f"sound of {self.bit_rate} bits a second")


@dataclass(frozen=True)
class SoundPart:
    """`begin`, from the first picture on, and `duration` (0: unknown) count the format's clock."""

    begin: int
    duration: int
    content: bytes


class SoundSource(Protocol):
    """The sound of the file at `path`, which the request named by `field`."""

    @property
    def path(self) -> Path: ...

    @property
    def field(self) -> str | None: ...

    @property
    def format(self) -> SoundFormat: ...

    def read(self) -> list[SoundPart]:
        """The parts that come next, of a batch at most; none at the end. Raises MediaError where
        they cannot be read."""
        ...

    def close(self) -> None: ...


def all_parts(source: SoundSource) -> Iterator[SoundPart]:
    """The parts that are left, read as they are wanted."""
    while parts := source.read():
        yield from parts


def in_order(
    parts: Iterable[SoundPart], form: SoundFormat, duration: Fraction, path: Path, field: str | None
) -> Iterator[SoundPart]:
    """The parts of a sound of `duration` seconds. Raises MediaError at the first that is too long,
    does not come after the one before or lies outside, and where there are too many."""
    most = int((duration + PRIMING_S) * form.rate) // _PACKET_SAMPLES + 2
    sample_nbytes = SAMPLE_NBYTES * SAMPLE_LAYOUTS.get(form.layout, 1)
    before: int | None = None
    for number, part in enumerate(parts):
        fault = None
        if not 1 <= len(part.content) <= PART_NBYTES:
            fault = f"an audio packet of {len(part.content)} bytes"
        elif before is not None and part.begin <= before:
            fault = "its sound goes back in time"
        elif not -PRIMING_S <= part.begin * form.clock <= duration:
            fault = "its sound is not where it should be"
        elif form.codec is None and len(part.content) != part.duration * sample_nbytes:
            fault = f"{part.duration} samples in {len(part.content)} bytes"
        elif form.codec is not None and number >= most:
            fault = f"more than {most} audio packets in {float(duration):g} s"
        if fault is not None:
            raise sound_error(path, field, fault)
        before = part.begin
        yield part


def sound_error(path: Path, field: str | None, fault: str) -> MediaError:
    return MediaError(
        f"{path}: {fault}",
        expected="undamaged sound that is complete to its end",
        action="copy the file again, encode its sound anew, or go without",
        field=field,
    )
