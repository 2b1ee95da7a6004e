"""Files of the server's own machine that callers may name: those below folders of the operator's.

A path is walked folder by folder, each opened inside the one before and none through a symbolic
link. So nothing that is swapped on the way, at any moment, leads out of the folder. What a hard
link or a mount in the folder shows is in the folder.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import ExitStack
from io import BufferedReader
from pathlib import Path, PurePosixPath

from wan_trt.engine.errors import InputError
from wan_trt.server.errors import PermissionDeniedError

SCHEME = "file:"
"""What the name of such a file begins with, where an upload id could stand."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class InputRoots:
    """Folders; without any, no file may be named."""

    def __init__(self, roots: Sequence[Path]) -> None:
        """Raises InputError for what is no folder."""
        self._roots: dict[tuple[str, ...], Path] = {}
        for root in roots:
            if not root.is_dir():
                raise InputError(
                    f"{root} is no folder",
                    expected="an existing one",
                    action="create it, or correct the path",
                    field="input_root",
                )
            self._roots[PurePosixPath(root.absolute()).parts] = root.resolve()

    def open(self, named: str, field: str) -> BufferedReader:
        """The file that `file:/ROOT/FOLDER/NAME` names, ROOT spelled as the operator did.

        Raises PermissionDeniedError for anything else; it does not tell whether it is there."""
        parts = PurePosixPath(named.removeprefix(SCHEME)).parts
        for root, place in self._roots.items():
            if parts[: len(root)] == root and len(parts) > len(root):
                try:
                    return _open_below(place, parts[len(root) :])
                except (OSError, ValueError):  # ValueError: a NUL in a name
                    break
        raise PermissionDeniedError(
            f"{named[:200]!r} is no file that this server lets callers name",
            expected="a file below a folder that the operator gave as --input-root, without links",
            action="upload it, or ask the operator",
            field=field,
        )


def _open_below(root: Path, names: Sequence[str]) -> BufferedReader:
    """Raises OSError for a link, for what goes up, and for what is no regular file."""
    *folders, name = names
    with ExitStack() as opened:
        folder = os.open(root, _FOLDER)
        opened.callback(os.close, folder)
        for each in folders:
            _require_down(each)
            folder = os.open(each, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
            opened.callback(os.close, folder)
        _require_down(name)
        # Looked at first, as opening a device may do something; and again when it is open.
        _require_regular(os.stat(name, dir_fd=folder, follow_symlinks=False))
        file = os.fdopen(os.open(name, _FILE, dir_fd=folder), "rb")
    try:
        _require_regular(os.fstat(file.fileno()))
    except OSError:
        file.close()
        raise
    return file


def _require_down(name: str) -> None:
    if name == "..":
        raise OSError("it leads up")


def _require_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError("it is no regular file")
