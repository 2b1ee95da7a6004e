"""Refuses an output that would replace one of its own inputs, or lie among them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from wan_trt.engine.errors import MediaError
from wan_trt.media.image_pattern import ImagePattern, is_pattern
from wan_trt.media.partial_output import FIELD


def require_no_input(
    out: Path | str, inputs: Mapping[str, Path | str | None], field: str = FIELD
) -> None:
    """Raise MediaError naming `field` when a file of `out` is one of `inputs`, whose keys name
    them as the user does.

    Files that are not there are left to those who open them.
    """
    written = _identities(Path(out), field)
    for name, given in inputs.items():
        if given is not None and written & _identities(Path(given), name):
            raise MediaError(
                f"{out} is read as {name}",
                expected="a file of its own",
                action="choose another name",
                field=field,
            )


def require_outside(out: Path | str, folders: Mapping[str, Path], field: str = FIELD) -> None:
    """Raise MediaError naming `field` when `out` lies in one of `folders`, whose keys name them as
    the user does, or is a file of theirs under another name. Paths that are no folders are left
    out."""
    place = Path(out).resolve()
    for name, folder in folders.items():
        if not folder.is_dir():
            continue
        if place.is_relative_to(folder.resolve()):
            raise MediaError(
                f"{out} lies in {folder}, which is read as {name}",
                expected="a place of its own",
                action="choose another place",
                field=field,
            )
        if place.is_file():
            require_no_input(place, {f"{name} {file}": file for file in folder.rglob("*")}, field)


def _identities(path: Path, field: str) -> set[tuple[int, int]]:
    """(device, inode) of each file that is there: the same under every name."""
    files = [path]
    if is_pattern(path):
        pattern = ImagePattern(path, field)
        files = [pattern.file(index) for index in pattern.indices()]
    found = set()
    for file in files:
        try:
            status = file.stat()
        except (OSError, ValueError):
            continue
        found.add((status.st_dev, status.st_ino))
    return found
