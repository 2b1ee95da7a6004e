"""The frames of a job that are made: one file a segment, in the numbers that the result needs.

The spool is the truth; the result is written from it, and again from it after a crash.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BufferedWriter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wan_trt.media import to_pixels
from wan_trt.server.store.job_folder import JobFolder, frames_path
from wan_trt.server.store.room import Room
from wan_trt.server.store.store import SegmentRow

_FRAMES_AT_ONCE = 16


@dataclass(frozen=True)
class SpoolFormat:
    """`dtype`: uint8, or float32, which keeps the latents too. `segment_frames`: the most that a
    segment brings forth."""

    height: int
    width: int
    dtype: np.dtype[Any]
    segment_frames: int

    @property
    def with_latents(self) -> bool:
        return self.dtype == np.float32

    @property
    def segment_nbytes(self) -> int:
        return self.segment_frames * self.height * self.width * 3 * self.dtype.itemsize


class Spool:
    """Segments in their order; `segments` are those that are complete."""

    def __init__(
        self, folder: JobFolder, form: SpoolFormat, room: Room, segments: Sequence[SegmentRow]
    ) -> None:
        self.form = form
        self.segments = list(segments)
        self._folder = folder
        self._room = room
        self._open: int | None = None
        self._file: BufferedWriter | None = None
        self._frames = 0

    @property
    def unfinished(self) -> int | None:
        """The segment that is being written."""
        return self._open

    def begin(self, segment: int, latents: NDArray[np.float32]) -> None:
        """Start a segment; over again, if it was begun before. Raises StorageFullError before
        anything is decoded where there is no room for its frames."""
        assert segment == len(self.segments), "segments come in their order"
        self.discard()
        self._room.require(self.form.segment_nbytes + latents.nbytes, f"segment {segment}")
        self._open, self._frames = segment, 0
        with self._room.waiting():
            if self.form.with_latents:
                with _partial(self._latents_path(segment)).open("wb") as file:
                    np.save(file, latents)
            self._file = _partial(self._frames_path(segment)).open("wb")

    def write(self, frames: NDArray[np.float32]) -> None:
        """Append frames, float32 [n, height, width, 3] in [-1, 1]."""
        assert self._file is not None, "frames belong to a segment"
        numbers = frames if self.form.with_latents else to_pixels(frames)
        with self._room.waiting():
            self._file.write(np.ascontiguousarray(numbers).data)
        self._frames += len(frames)

    def finish(self) -> SegmentRow:
        """Give the files of the segment their names; may be called again where it failed."""
        assert self._open is not None, "only what was begun is finished"
        with self._room.waiting():
            if self._file is not None:
                self._file.close()
                self._file = None
            for target in (self._latents_path(self._open), self._frames_path(self._open)):
                if _partial(target).exists():
                    self._folder.complete(_partial(target), target)
        return SegmentRow(self._open, self._frames)

    def accept(self, row: SegmentRow) -> None:
        """The job store knows of the segment now."""
        self.segments.append(row)
        self._open = None

    def read(self, row: SegmentRow) -> Iterator[NDArray[Any]]:
        """The frames of a complete segment, [n, height, width, 3], a few at a time. Raises
        ValueError for a file of another length."""
        shape = (row.frames, self.form.height, self.form.width, 3)
        path = self._frames_path(row.segment)
        nbytes = int(np.prod(shape)) * self.form.dtype.itemsize
        if path.stat().st_size != nbytes:
            raise ValueError(f"{path} has {path.stat().st_size} bytes instead of {nbytes}")
        with path.open("rb") as file:
            for start in range(0, row.frames, _FRAMES_AT_ONCE):
                count = min(_FRAMES_AT_ONCE, row.frames - start)
                numbers = np.fromfile(file, self.form.dtype, count * int(np.prod(shape[1:])))
                yield numbers.reshape(count, *shape[1:])

    def latents(self, segment: int) -> NDArray[np.float32]:
        latents: NDArray[np.float32] = np.load(self._latents_path(segment))
        return latents

    def discard(self) -> None:
        """Drop a segment that is not complete."""
        if self._open is None:
            return
        if self._file is not None:
            self._file.close()
            self._file = None
        for target in (self._latents_path(self._open), self._frames_path(self._open)):
            _partial(target).unlink(missing_ok=True)
            target.unlink(missing_ok=True)
        self._open = None

    def names(self) -> list[str]:
        """Files of the complete segments, relative to the job's folder."""
        paths = [self._frames_path(row.segment) for row in self.segments]
        if self.form.with_latents:
            paths += [self._latents_path(row.segment) for row in self.segments]
        return [str(path.relative_to(self._folder.path)) for path in paths]

    def _frames_path(self, segment: int) -> Path:
        return frames_path(self._folder.path, segment)

    def _latents_path(self, segment: int) -> Path:
        return self._folder.spool / f"{segment:04}.latents.npy"


def _partial(target: Path) -> Path:
    return target.with_name(f".{target.name}.partial")
