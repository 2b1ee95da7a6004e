"""The beginning of a result that is being fetched, kept beside its place until it is whole.

    OUT.<job id>.part

A fetch that was cut off, also by a crash, goes on behind it. The last of what is there is fetched
again and compared: a crash may have left zeros where the disk was never written.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from wan_trt.engine.errors import MediaError
from wan_trt.media.partial_output import FIELD, output_error, require_place, sync

_COMPARED_NBYTES = 1 << 16


class ChangedError(Exception):
    """What is there is not what the server sends."""


class PartialDownload:
    """A file that grows to `target`."""

    def __init__(self, target: Path, job_id: str) -> None:
        """Raises MediaError for a place that cannot be written, and while another fetches."""
        require_place(target)
        self.target = target
        self.path = target.with_name(f"{target.name[:100]}.{job_id}.part")
        try:
            self._file = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        except OSError as error:
            raise output_error(target, error) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise MediaError(
                f"{self.path}: another process is fetching into it",
                action="let it end, or choose another name",
                field=FIELD,
            ) from None
        self.there_nbytes = os.fstat(self._file.fileno()).st_size

    @property
    def offset(self) -> int:
        """Where to fetch from."""
        return max(0, self.there_nbytes - _COMPARED_NBYTES)

    def take(self, offset: int, content: bytes) -> None:
        """Bytes of the result. Raises ChangedError where they are not those that are there."""
        try:
            self._file.seek(offset)
            known = max(0, min(len(content), self.there_nbytes - offset))
            if self._file.read(known) != content[:known]:
                raise ChangedError
            self._file.seek(offset + known)
            self._file.write(content[known:])
        except OSError as error:
            raise output_error(self.target, error) from error
        self.there_nbytes = max(self.there_nbytes, offset + len(content))

    def begin_anew(self) -> None:
        self._file.truncate(0)
        self.there_nbytes = 0

    def commit(self) -> None:
        """Bring it to disk and give it its name."""
        try:
            self._file.flush()
            sync(self.path)
            self.path.replace(self.target)
            sync(self.target.parent)
        except OSError as error:
            raise output_error(self.target, error) from error

    def discard(self) -> None:
        """Remove what is there; harmless after `commit`."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Keep what is there for the next one, if anything is. A full disk refuses the last
        buffer."""
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            if self.path.stat().st_size == 0:
                self.discard()
