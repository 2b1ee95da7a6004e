"""Previews for one watcher: asked of the engine while somebody looks, and made small."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wan_trt.engine.errors import InputError, NotFoundError
from wan_trt.engine.request import Event
from wan_trt.media.image_archive import png_bytes
from wan_trt.server.proto import wan_trt_v1_pb2 as wire

MAX_NBYTES = 1 << 20
_MAX_PICTURES = 1000
_JPEG_QUALITY = 85
_FRAMES_A_LATENT = 4

Encode = Callable[[NDArray[np.uint8]], bytes]


@dataclass(frozen=True)
class PreviewOptions:
    """`pictures`: at most so many."""

    format: wire.PictureFormat = wire.PICTURE_FORMAT_JPEG
    pictures: int = 1


def options_from_wire(message: wire.PreviewRequest) -> PreviewOptions:
    """Raises InputError."""
    form = message.format or wire.PICTURE_FORMAT_JPEG
    if form not in _ENCODERS:
        raise InputError(
            f"value {form}",
            expected="a format that this server knows",
            action="choose JPEG",
            field="preview.format",
        )
    if not 0 <= message.max_pictures <= _MAX_PICTURES:
        raise InputError(
            f"{message.max_pictures}", expected=f"1 to {_MAX_PICTURES}", field="max_pictures"
        )
    return PreviewOptions(form, message.max_pictures or 1)


class MakesPreviews(Protocol):
    def preview(self, job_id: str) -> Future[NDArray[np.uint8]]:
        """See `Engine.preview`."""
        ...


class Previews:
    """At most one is asked for at a time, so who looks away costs nothing."""

    def __init__(
        self,
        engine: MakesPreviews,
        job_id: str,
        options: PreviewOptions,
        latest: Callable[[], Event],
        wake: Callable[[], None],
    ) -> None:
        """`latest` tells the event of the step just done; `wake` is called when there is one."""
        self._engine = engine
        self._job_id = job_id
        self._options = options
        self._latest = latest
        self._wake = wake
        self._asked: Future[NDArray[np.uint8]] | None = None
        self._made: tuple[Event, NDArray[np.uint8]] | None = None
        self._lock = threading.Lock()

    def ask(self) -> None:
        """Have one made of the next step, where that is possible."""
        if self._asked is not None or self.ready:
            return
        try:
            asked = self._engine.preview(self._job_id)
        except NotFoundError:
            return  # the engine does not have the job yet, or not any more
        self._asked = asked
        asked.add_done_callback(self._take)

    @property
    def ready(self) -> bool:
        with self._lock:
            return self._made is not None

    def take(self) -> tuple[Event, wire.Preview] | None:
        """The one that was made since, and the event of its step."""
        with self._lock:
            made, self._made = self._made, None
        if made is None:
            return None
        event, pictures = made
        return event, preview_message(pictures, self._options)

    def close(self) -> None:
        if (asked := self._asked) is not None:  # it may be taken just now
            asked.cancel()

    def _take(self, future: Future[NDArray[np.uint8]]) -> None:
        """Called by the engine's thread, right after the event of the step."""
        try:
            pictures = future.result()
        except CancelledError:
            return
        latest = self._latest()  # takes the record's lock, whose holders ask `ready`
        with self._lock:
            self._made = latest, pictures
            self._asked = None
        self._wake()


def preview_message(pictures: NDArray[np.uint8], options: PreviewOptions) -> wire.Preview:
    """Of `pictures`, uint8 [latents, height, width, 3], as many as are wanted and fit."""
    encode = _ENCODERS[options.format]
    count, height, width, _ = pictures.shape
    wanted = min(options.pictures, count)
    while True:
        chosen = _evenly(count, wanted)
        encoded = [encode(pictures[index]) for index in chosen]
        if wanted == 1 or sum(map(len, encoded)) <= MAX_NBYTES:
            break
        wanted = wanted // 2
    return wire.Preview(
        format=options.format,
        width=width,
        height=height,
        pictures=encoded,
        frames=[first_frame(index) for index in chosen],
    )


def first_frame(latent: int) -> int:
    """The first frame of a segment that a latent stands for: 1 for the first, 4 for each other."""
    return 0 if latent == 0 else _FRAMES_A_LATENT * (latent - 1) + 1


def _evenly(count: int, wanted: int) -> list[int]:
    """The middles of `wanted` equal parts."""
    return [(2 * part + 1) * count // (2 * wanted) for part in range(wanted)]


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(
        content, format="JPEG", quality=_JPEG_QUALITY
    )
    return content.getvalue()


def _raw(picture: NDArray[np.uint8]) -> bytes:
    return picture.tobytes()


_ENCODERS: dict[wire.PictureFormat, Encode] = {
    wire.PICTURE_FORMAT_JPEG: _jpeg,
    wire.PICTURE_FORMAT_PNG: png_bytes,
    wire.PICTURE_FORMAT_RAW: _raw,
}
