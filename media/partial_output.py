"""Outputs that appear under their name only when they are complete."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import weakref
from collections.abc import Iterator
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

    def __init__(self, target: Path, field: str = FIELD) -> None:
        """Raises MediaError when `target` cannot be written where it is; `field` names it."""
        require_place(target, field)
        self.target = target
        self.path = partial_name(target)
        self._field = field
        # An interrupt may come between any two lines, also before somebody can discard this.
        weakref.finalize(self, _remove, self.path)

    def create(self) -> None:
        """Make the empty file: it fails now where it would fail at the end of the work."""
        try:
            self.path.open("xb").close()
        except OSError as error:
            raise output_error(self.target, error, self._field) from error

    def commit(self) -> None:
        """Bring the file to disk and give it its name."""
        sync(self.path)
        self.path.replace(self.target)
        sync(self.target.parent)

    def discard(self) -> None:
        """Remove what was written; idempotent, and harmless after `commit`."""
        _remove(self.path)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def try_place(target: Path, field: str = FIELD) -> None:
    """Raise MediaError or ResourceError unless a file can be made beside `target` right now."""
    partial = PartialFile(target, field)
    try:
        partial.create()
    finally:
        partial.discard()


@contextlib.contextmanager
def whole_file(target: Path, field: str = FIELD) -> Iterator[Path]:
    """The path to write to; what is there gets the name `target` if the block ends well, and is
    removed otherwise. Raises as `try_place`."""
    partial = PartialFile(target, field)
    try:
        yield partial.path
        partial.commit()
    except OSError as error:
        raise output_error(target, error, field) from error
    finally:
        partial.discard()


def write_text(target: Path, content: str, field: str = FIELD) -> None:
    """Write a small file that appears, or is replaced, whole. Raises as `try_place`."""
    with whole_file(target, field) as path:
        path.write_text(content, encoding="utf-8")


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


def require_place(target: Path, field: str = FIELD) -> None:
    """Raise MediaError unless a file `target` can be created or replaced."""
    folder = target.parent
    try:
        taken = target.is_dir()
    except OSError as error:  # a name that is too long, a folder that must not be entered
        raise output_error(target, error, field) from error
    if not folder.is_dir():
        raise MediaError(
            f"{target}: the folder {folder} does not exist",
            expected="an existing folder",
            action="create it first",
            field=field,
        )
    if taken:
        raise MediaError(
            f"{target}: a folder",
            expected="the name of a file to write",
            action="add a file name to it",
            field=field,
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise MediaError(
            f"{target}: the folder {folder} is not writable",
            expected="a folder this user may write to",
            action="choose another one",
            field=field,
        )


def is_exhausted(error: OSError) -> bool:
    """Whether space, memory or handles ran out: another machine may do it."""
    return error.errno in _EXHAUSTED


def output_error(target: Path, error: OSError, field: str = FIELD) -> WanTrtError:
    """The typed error for a failed write: ResourceError where space or handles ran out."""
    detail = error.strerror or one_line(error)
    if is_exhausted(error):
        return ResourceError(
            f"{target}: {detail}", action="free some space or write elsewhere", field=field
        )
    return MediaError(
        f"{target}: cannot be written ({detail})", action="choose another place", field=field
    )
