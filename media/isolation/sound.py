"""Sound in a reader process, as this one hears of it."""

from __future__ import annotations

import contextlib
import socket
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wan_trt.engine.errors import WanTrtError
from wan_trt.media.isolation.messages import Message
from wan_trt.media.sound import (
    BATCH_NBYTES,
    BATCH_PARTS,
    PART_NBYTES,
    SoundFormat,
    SoundPart,
)

if TYPE_CHECKING:
    from wan_trt.media.isolation.reader import IsolatedMedia


class IsolatedSound:
    """A SoundSource in a reader process."""

    def __init__(
        self, media: IsolatedMedia, path: Path, field: str | None, source: int, form: SoundFormat
    ) -> None:
        self.path, self.field, self.format = path, field, form
        self._media = media
        self._source = source
        self._closed = False

    def read(self) -> list[SoundPart]:
        """See SoundSource. Raises MediaError also when the process dies of it."""

        def received(connection: socket.socket) -> list[SoundPart]:
            parts = self._media.message(connection)["parts"]
            if len(parts) > BATCH_PARTS:
                raise ValueError(f"{len(parts)} parts of sound")
            if any(type(number) is not int for part in parts for number in part):
                raise ValueError("sound without times")
            sizes = [nbytes for _, _, nbytes in parts]
            if any(nbytes < 1 for nbytes in sizes) or sum(sizes) > BATCH_NBYTES + PART_NBYTES:
                raise ValueError(f"sound in pieces of {sizes} bytes")
            return [
                SoundPart(_time(begin), _time(duration), self._content(connection, nbytes))
                for begin, duration, nbytes in parts
            ]

        request = {"ask": "sound parts", "source": self._source}
        return self._media.exchange(request, self.path, self.field, received)

    def _content(self, connection: socket.socket, nbytes: int) -> bytes:
        content = np.empty(nbytes, np.uint8)
        self._media.payload(connection, content)
        return content.tobytes()

    def close(self) -> None:
        """Its file is closed now: a job may open its sound more than once. Idempotent."""
        if self._closed:
            return
        self._closed = True
        request = {"ask": "close sound", "source": self._source}
        with contextlib.suppress(WanTrtError):  # the process is gone, and the file with it
            self._media.exchange(request, self.path, self.field, self._media.message)


def format_to_message(form: SoundFormat) -> Message:
    return {
        "codec": form.codec,
        "rate": form.rate,
        "layout": form.layout,
        "clock": form.clock.as_integer_ratio(),
        "extradata": form.extradata.hex(),
        "bit_rate": form.bit_rate,
    }


def format_from_message(message: Message) -> SoundFormat:
    """Raises ValueError, TypeError or KeyError for what is none."""
    clock = message["clock"]
    return SoundFormat(
        codec=message["codec"],
        rate=message["rate"],
        layout=message["layout"],
        clock=Fraction(int(clock[0]), int(clock[1])),
        extradata=bytes.fromhex(message["extradata"]),
        bit_rate=message["bit_rate"],
    )


def _time(ticks: int) -> int:
    """Raises ValueError for what no file counts to."""
    if not -(1 << 62) < ticks < 1 << 62:
        raise ValueError(f"a time of {ticks} ticks")
    return ticks
