"""What can be fetched of a job, also while it runs: its result, its raw frames, single pictures.

Raw frames lie in the spool, one file a segment, and then inside results that are numbers; either
way they are the same bytes in the same order.
"""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wan_trt.engine.errors import InputError
from wan_trt.engine.request import JobState
from wan_trt.media.image_archive import frame_name, png_bytes
from wan_trt.server.errors import NotReadyError
from wan_trt.server.job_record import JobRecord
from wan_trt.server.partial_upload import MAX_CHUNK_NBYTES
from wan_trt.server.store.job_folder import frames_path
from wan_trt.server.submission import OutputFormat, VideoFormat

Wanted = Callable[[], bool]
_READ_NBYTES = 1 << 18
"""With 1 MiB, whose buffers are mapped anew each time, a GB takes twice the processor time."""


@dataclass(frozen=True)
class Chunk:
    """Bytes of an artifact from `offset` on; it has `nbytes` in all."""

    offset: int
    content: bytes
    nbytes: int

    @property
    def last(self) -> bool:
        return self.offset + len(self.content) == self.nbytes


@dataclass(frozen=True)
class _Stretch:
    """Part of a file."""

    path: Path
    start: int
    nbytes: int


def result(record: JobRecord, offset: int, follow: bool, wanted: Wanted) -> Iterator[Chunk]:
    """The file of the output format; with `follow` once it is there. Raises NotReadyError where it
    is not, or the error that the job ended with."""
    if follow and not _await(record, lambda: record.latest.state.final, wanted):
        return
    path = record.result()
    nbytes = record.nbytes(record.latest)
    require_offset(offset, nbytes)
    yield from _chunks([_Stretch(path, 0, nbytes)], offset, nbytes)


def frames(record: JobRecord, offset: int, follow: bool, wanted: Wanted) -> Iterator[Chunk]:
    """Raw frames, as far as they are there, with `follow` to the last. Raises NotReadyError where
    there are none any more, or the error that the job ended with."""
    with record.reading():
        video = _video(record, follow, wanted)
        if video is None:
            return
        require_offset(offset, video.nbytes)
        while True:
            stretches = _raw(record, video)
            for chunk in _chunks(stretches, offset, video.nbytes):
                yield chunk
                offset = chunk.offset + len(chunk.content)
            there = sum(stretch.nbytes for stretch in stretches)
            if there == video.nbytes or not follow:
                return

            def more(there: int = there, video: VideoFormat = video) -> bool:
                return _nbytes(record, video) > there

            if not _await(record, more, wanted):
                return


def image(
    record: JobRecord, frame: int, offset: int, follow: bool, wanted: Wanted
) -> Iterator[Chunk]:
    """One frame as PNG. Raises as `frames`."""
    with record.reading():
        video = _video(record, follow, wanted)
        if video is None:
            return
        content = _picture(record, video, frame, follow, wanted)
    if content is None:
        return
    require_offset(offset, len(content))
    for start in range(offset, len(content), MAX_CHUNK_NBYTES):
        yield Chunk(start, content[start : start + MAX_CHUNK_NBYTES], len(content))


def require_offset(offset: int, nbytes: int) -> None:
    """Raises InputError for what lies outside."""
    if not 0 <= offset <= nbytes:
        raise InputError(f"{offset}", expected=f"0 to {nbytes}", field="offset")


def _await(record: JobRecord, until: Callable[[], bool], wanted: Wanted) -> bool:
    """Wait for it; False where nobody wants it any more. Raises the error of a job that ends
    before."""
    go_on = record.wait(lambda: until() or record.latest.state.final, wanted)
    if go_on:
        record.require_no_failure()
    return go_on


def _video(record: JobRecord, follow: bool, wanted: Wanted) -> VideoFormat | None:
    """What the frames are like; None where nobody wants to know any more."""
    if follow and not _await(record, lambda: record.video is not None, wanted):
        return None
    if record.video is None and wanted():
        raise NotReadyError(
            f"job {record.job_id} has no frames yet", action="watch it until it decodes"
        )
    return record.video


def _picture(
    record: JobRecord, video: VideoFormat, frame: int, follow: bool, wanted: Wanted
) -> bytes | None:
    if video.sample_nbytes != 1:
        raise InputError(
            "a picture of a float32 result",
            expected="raw frames of it",
            action="fetch those, or choose another output format",
            field="artifact",
        )
    if not 0 <= frame < video.frames:
        raise InputError(f"{frame}", expected=f"0 to {video.frames - 1}", field="frame")
    end = (frame + 1) * video.frame_nbytes
    if follow and not _await(record, lambda: _nbytes(record, video) >= end, wanted):
        return None
    if record.submission.output_format is OutputFormat.PNG and record.latest.state.final:
        with zipfile.ZipFile(record.result()) as archive:
            return archive.read(frame_name(frame))
    stretches = _raw(record, video)
    if sum(stretch.nbytes for stretch in stretches) < end:
        raise NotReadyError(
            f"frame {frame} of job {record.job_id} is not decoded yet",
            action="watch the job, or follow",
        )
    chunks = _chunks(stretches, end - video.frame_nbytes, end, end)
    content = b"".join(chunk.content for chunk in chunks)
    return png_bytes(np.frombuffer(content, np.uint8).reshape(video.height, video.width, 3))


def _nbytes(record: JobRecord, video: VideoFormat) -> int:
    """How much of the raw frames is there; all of it once the job is done."""
    if record.latest.state is JobState.DONE:
        return video.nbytes
    return sum(row.frames for row in record.segments) * video.frame_nbytes


def _raw(record: JobRecord, video: VideoFormat) -> list[_Stretch]:
    """Where the raw frames lie, in their order. Raises NotReadyError where they are gone."""
    folder = record.path.parent
    spooled = [
        _Stretch(frames_path(folder, row.segment), 0, row.frames * video.frame_nbytes)
        for row in record.segments
    ]
    if not record.latest.state.final or sum(part.nbytes for part in spooled) == video.nbytes:
        return spooled
    path = record.result()
    match record.submission.output_format:
        case OutputFormat.RAW:
            return [_Stretch(path, 0, video.nbytes)]
        case OutputFormat.UINT8 | OutputFormat.FLOAT32:
            return [_Stretch(path, _tensor_start(path), video.nbytes)]
        case other:
            raise NotReadyError(
                f"job {record.job_id} is over, and its frames were kept as {other.value} only",
                expected="a job that runs, or whose output format is raw",
                action="fetch the result, or follow the frames of such a job from its beginning",
            )


def _tensor_start(path: Path) -> int:
    """Where the tensor `frames` begins in a safetensors file."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        start = json.loads(file.read(length))["frames"]["data_offsets"][0]
    return 8 + int(length) + int(start)


def _chunks(
    stretches: list[_Stretch], offset: int, nbytes: int, end: int | None = None
) -> Iterator[Chunk]:
    """The bytes from `offset` to `end` (None: as far as they go) of all stretches together."""
    begin = 0
    for stretch in stretches:
        after = begin + stretch.nbytes
        stop = after if end is None else min(after, end)
        if offset < stop:
            with stretch.path.open("rb") as file:
                file.seek(stretch.start + offset - begin)
                while offset < stop:
                    content = file.read(min(_READ_NBYTES, stop - offset))
                    if not content:
                        raise NotReadyError(f"{stretch.path.name} ends early", action="try again")
                    yield Chunk(offset, content, nbytes)
                    offset += len(content)
        begin = after
