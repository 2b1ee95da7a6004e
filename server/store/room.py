"""Whether a disk has room for what a job is about to keep."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wan_trt.engine.errors import ResourceError, StorageFullError
from wan_trt.media.partial_output import is_exhausted

RESERVE_NBYTES = 1 << 30
RETRY_S = 10.0


class Room:
    """The disk of one folder. `reserve_nbytes` of it are left to others, and to the job store,
    which must be able to tell that there is no room."""

    def __init__(
        self, folder: Path, reserve_nbytes: int = RESERVE_NBYTES, retry_s: float = RETRY_S
    ) -> None:
        self._folder = folder
        self.reserve_nbytes = reserve_nbytes
        self._retry_s = retry_s

    def require(self, nbytes: int, what: str) -> None:
        """Raises StorageFullError unless there is room."""
        free = shutil.disk_usage(self._folder).free
        if free < nbytes + self.reserve_nbytes:
            raise self._full(
                f"{what} takes {nbytes} bytes, and of {free} free ones {self.reserve_nbytes} are "
                "to stay so"
            )

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """What runs out of room in here is to wait for it: StorageFullError."""
        try:
            yield
        except StorageFullError:
            raise
        except ResourceError as error:
            raise self._full(error.given) from error
        except OSError as error:
            if not is_exhausted(error):
                raise
            raise self._full(error.strerror or str(error)) from error

    def _full(self, given: str) -> StorageFullError:
        return StorageFullError(
            given,
            retry_after_s=self._retry_s,
            expected="more room on the server's disk",
            action="fetch results or make room; the job goes on then",
        )
