"""Names of image sequences: `name.%04d.png` stands for name.0000.png, name.0001.png, ..."""

from __future__ import annotations

import re
from pathlib import Path

from wan_trt.engine.errors import MediaError

_NUMBER = re.compile(r"%(?:0(\d+))?d")


def is_pattern(path: Path) -> bool:
    """Whether the file name holds a printf number such as %d or %04d."""
    return _NUMBER.search(path.name) is not None


class ImagePattern:
    """One printf number in a file name, and the files on disk that fit it."""

    def __init__(self, path: Path, field: str | None = None) -> None:
        numbers = list(_NUMBER.finditer(path.name))
        if len(numbers) != 1:
            raise MediaError(
                f"{path}: {len(numbers)} numbers in the name of an image sequence",
                expected="exactly one, such as name.%04d.png",
                action="rename the pictures",
                field=field,
            )
        self.path = path
        self.folder = path.parent
        self._digits = int(numbers[0][1] or 1)
        self._before = path.name[: numbers[0].start()]
        self._after = path.name[numbers[0].end() :]

    def file(self, index: int) -> Path:
        """The file of one index."""
        return self.folder / f"{self._before}{index:0{self._digits}d}{self._after}"

    def indices(self) -> list[int]:
        """Indices of the files that exist, ascending; empty where the folder does not exist."""
        if not self.folder.is_dir():
            return []
        numbered = re.compile(rf"{re.escape(self._before)}(\d+){re.escape(self._after)}")
        found = (
            (int(match[1]), entry.name)
            for entry in self.folder.iterdir()
            if (match := numbered.fullmatch(entry.name))
        )
        # Only the spelling that the pattern itself produces: 0007 is not 7.
        return sorted(index for index, name in found if self.file(index).name == name)
