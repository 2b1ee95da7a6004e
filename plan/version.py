"""Which TensorRT plans are built and run with."""

from __future__ import annotations

import re

from wan_trt.engine.errors import InputError

LEAST = (11, 4)


def require_version(found: str) -> None:
    """Raises InputError for a TensorRT before 11.4: 11.3 can lose a bias when it refits, and 10.x
    types networks otherwise."""
    numbers = re.findall(r"\d+", found)[:2]
    if len(numbers) < 2 or tuple(map(int, numbers)) < LEAST:
        raise InputError(
            f"TensorRT {found}",
            expected=f"{LEAST[0]}.{LEAST[1]} or later",
            action="install wan-trt[trt] on the GPU host",
        )
