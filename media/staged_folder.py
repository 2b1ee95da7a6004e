"""A folder that appears under its name only when it is complete."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wan_trt.engine.errors import InputError


@contextmanager
def staged_folder(out: Path) -> Iterator[Path]:
    """A temporary sibling of `out` that is renamed to it on success and removed on failure.

    Raises InputError when `out` is there already or its parent is not.
    """
    if out.exists():
        raise InputError(
            f"{out} exists", expected="a new folder", action="remove it or choose another name"
        )
    if not out.absolute().parent.is_dir():
        raise InputError(f"the folder of {out} does not exist", action="create it first")
    stage = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.absolute().parent))
    try:
        yield stage
        stage.chmod(0o755)
        stage.rename(out)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
