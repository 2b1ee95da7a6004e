"""One server a folder."""

from __future__ import annotations

import fcntl
from pathlib import Path

from wan_trt.engine.errors import InputError


class FolderLock:
    """Held from its making to `close`, or to the end of the process, however it ends."""

    def __init__(self, path: Path) -> None:
        """Raises InputError while somebody else holds it."""
        self._file = path.open("a")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise InputError(
                f"another server uses the folder {path.parent}",
                expected="a folder of its own for each server",
                action="stop the other one, or name another folder",
                field="data",
            ) from None

    def close(self) -> None:
        self._file.close()
