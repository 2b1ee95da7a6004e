"""What a client sends: one file, whatever the user named."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from wan_trt.engine.errors import MediaError
from wan_trt.media import open_frames
from wan_trt.media.image_pattern import is_pattern
from wan_trt.media.input_files import require_file
from wan_trt.media.tensor_writer import TensorWriter
from wan_trt.server.partial_upload import MAX_CHUNK_NBYTES
from wan_trt.server.proto import wan_trt_v1_pb2 as wire

OnProgress = Callable[[int, int], None]
"""Told how many bytes of how many are there."""

_PACKED_FRAMES = 16


@contextmanager
def sendable_file(path: Path, field: str | None) -> Iterator[Path]:
    """The file itself, or for an image sequence a temporary file that holds its frames.

    Raises MediaError when there is nothing readable under that name.
    """
    if not is_pattern(path):
        require_file(path, field)
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="wan-trt-") as folder:
        packed = Path(folder) / "frames.safetensors"
        _pack(path, packed, field)
        yield packed


def upload_header(path: Path, name: str, field: str | None) -> wire.UploadHeader:
    """What is to be sent. Raises MediaError when the file cannot be read."""
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            return wire.UploadHeader(name=name, nbytes=file.tell(), sha256=sha256)
    except OSError as error:
        raise MediaError(
            f"{path}: cannot be read ({error.strerror})", action="check the file", field=field
        ) from None


def upload_messages(
    header: wire.UploadHeader, path: Path, on_progress: OnProgress | None = None
) -> Iterator[wire.UploadRequest]:
    """The messages of one Upload, from the header's offset on. The content is read as it is
    sent."""
    yield wire.UploadRequest(header=header)
    done_nbytes = header.offset
    with path.open("rb") as file:
        file.seek(done_nbytes)
        while chunk := file.read(MAX_CHUNK_NBYTES):
            yield wire.UploadRequest(chunk=chunk)
            done_nbytes += len(chunk)
            if on_progress is not None:
                on_progress(done_nbytes, header.nbytes)


def _pack(pattern: Path, packed: Path, field: str | None) -> None:
    """Write an image sequence as uint8 `frames`, a few at a time."""
    source = open_frames(pattern, field=field)
    try:
        writer = TensorWriter(
            packed,
            height=source.height,
            width=source.width,
            frame_count=source.count,
            dtype=np.uint8,
        )
        try:
            for start in range(0, source.count, _PACKED_FRAMES):
                writer.write(source.read(start, min(start + _PACKED_FRAMES, source.count)))
            writer.close()
        finally:
            writer.abort()
    finally:
        source.close()
