"""Whether a disk has room for what is about to be written."""

from __future__ import annotations

import shutil
from pathlib import Path

from wan_trt.engine.errors import ResourceError
from wan_trt.media.partial_output import FIELD


def require_space(out: Path, nbytes: int, field: str = FIELD) -> None:
    """Raise ResourceError unless `nbytes` more fit beside `out`."""
    free = shutil.disk_usage(out.absolute().parent).free
    if free < nbytes:
        raise ResourceError(
            f"{out} needs {nbytes} bytes and {free} are free",
            expected=f"{nbytes - free} bytes more",
            action="free some space, or write to another disk",
            field=field,
        )
