"""A folder that appears under its name only when it is complete."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wan_trt.engine.errors import InputError
from wan_trt.media.partial_output import FIELD, is_exhausted, output_error, partial_name


@contextmanager
def staged_folder(out: Path, *, replace: bool = False) -> Iterator[Path]:
    """A temporary sibling of `out` that is renamed to it on success and removed on failure.

    With `replace` a folder that is there is replaced, where a link to it points to, and stays as
    it is until then. Raises InputError when `out` is there otherwise or cannot be made where it is,
    and ResourceError when the disk becomes full, inside too.
    """
    replace = replace and out.is_dir()
    out = out.resolve() if replace else _new(out)
    stage, former = partial_name(out), partial_name(out)
    try:
        try:
            stage.mkdir()
        except OSError as error:
            raise output_error(out, error) from error
        yield stage
        try:
            if replace:
                out.rename(former)
            stage.rename(out)
        except OSError as error:
            raise output_error(out, error) from error
    except OSError as error:
        if is_exhausted(error):
            raise output_error(out, error) from error
        raise  # it may be about a file that was read
    finally:
        # Whatever came between the two renames: one of the two folders has the name.
        if former.exists() and not out.exists():
            former.rename(out)
        for folder in (former, stage):
            shutil.rmtree(folder, ignore_errors=True)


def _new(out: Path) -> Path:
    """The absolute path of `out`, whose last part must be free."""
    out = out.absolute()
    if not out.parent.is_dir():
        raise InputError(
            f"the folder of {out} does not exist", action="create it first", field=FIELD
        )
    try:
        out.lstat()
    except FileNotFoundError:
        return out
    except OSError as error:  # a name that is too long, a folder that must not be entered
        raise output_error(out, error) from error
    raise InputError(
        f"{out} exists",
        expected="a new folder",
        action="remove it or choose another name",
        field=FIELD,
    )
