"""Outputs that appear under their name only when they are complete."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from pathlib import Path

from wan_trt.engine.errors import MediaError, ResourceError, WanTrtError
from wan_trt.media.input_files import one_line

FIELD = "out"

_EXHAUSTED = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM})


class PartialFile:
    """A file written beside its final place under a hidden name, then renamed over it.

    A process that is killed leaves at most the hidden `.NAME.XXXXXXXX.partial` behind; an older
    file of the final name stays whole until the new one replaces it.
    """

    def __init__(self, target: Path) -> None:
        """Raises MediaError when `target` cannot be written where it is."""
        require_place(target)
        self.target = target
        self.path = partial_name(target)

    def commit(self) -> None:
        """Bring the file to disk and give it its name."""
        sync(self.path)
        self.path.replace(self.target)
        sync(self.target.parent)

    def discard(self) -> None:
        """Remove what was written; idempotent, and harmless after `commit`."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)


def partial_name(target: Path) -> Path:
    """A hidden name of its own beside `target`, where a rename is atomic."""
    # Cut, because a name of the greatest length leaves no room for more.
    return target.with_name(f".{target.name[:40]}.{secrets.token_hex(4)}.partial")


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_place(target: Path) -> None:
    """Raise MediaError unless a file `target` can be created or replaced."""
    folder = target.parent
    try:
        taken = target.is_dir()
    except OSError as error:  # a name that is too long, a folder that must not be entered
        raise output_error(target, error) from error
    if not folder.is_dir():
        raise MediaError(
            f"{target}: the folder {folder} does not exist",
            expected="an existing folder",
            action="create it first",
            field=FIELD,
        )
    if taken:
        raise MediaError(f"{target}: a folder", expected="the name of a file to write", field=FIELD)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise MediaError(
            f"{target}: the folder {folder} is not writable",
            expected="a folder this user may write to",
            field=FIELD,
        )


def is_exhausted(error: OSError) -> bool:
    """Whether space, memory or handles ran out: another machine may do it."""
    return error.errno in _EXHAUSTED


def output_error(target: Path, error: OSError) -> WanTrtError:
    """The typed error for a failed write: ResourceError where space or handles ran out."""
    detail = error.strerror or one_line(error)
    if is_exhausted(error):
        return ResourceError(
            f"{target}: {detail}", action="free some space or write elsewhere", field=FIELD
        )
    return MediaError(f"{target}: cannot be written ({detail})", field=FIELD)
