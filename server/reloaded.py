"""What files say, read again when they change."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from wan_trt.engine.errors import WanTrtError

_log = logging.getLogger(__name__)

_Content = TypeVar("_Content")
_Stamp = tuple[tuple[int, ...] | None, ...]


class Reloaded(Generic[_Content]):
    """The last good content of some files; safe to use from any thread.

    Files are looked at (not read) each time that the content is asked for. What is then wrong with
    them goes to the log, once for each change, and the content of before stays.
    """

    def __init__(self, files: Sequence[Path], read: Callable[[], _Content]) -> None:
        """Raises what `read` raises."""
        self._files = tuple(files)
        self._read = read
        self._lock = threading.Lock()
        self._stamp = self._look()
        self._content = read()

    @property
    def current(self) -> _Content:
        with self._lock:
            stamp = self._look()
            if stamp != self._stamp:
                self._stamp = stamp  # of before reading: a change meanwhile is seen next time
                self._reload()
            return self._content

    def _reload(self) -> None:
        names = ", ".join(map(str, self._files))
        try:
            self._content = self._read()
        except WanTrtError as error:
            _log.error("%s changed and cannot be used, what it said before holds: %s", names, error)
        else:
            _log.info("%s changed and was read again", names)

    def _look(self) -> _Stamp:
        return tuple(_stamp(file) for file in self._files)


def _stamp(file: Path) -> tuple[int, ...] | None:
    """Differs when the file was written, replaced, or a link on the way to it was turned."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size
