"""A GPU for tests that need one, or the reason why they are skipped."""

from __future__ import annotations

from typing import Any

import pytest

from wan_trt.engine.cuda.driver import Device, load_bindings
from wan_trt.engine.errors import ResourceError


def open_gpu() -> tuple[Any, Device]:
    """The genuine `cuda.bindings.driver`, and the first GPU with its context current. Skips the
    test where there is none."""
    try:
        return load_bindings(), Device()
    except ResourceError as error:
        pytest.skip(f"needs an NVIDIA GPU ({error.given.partition(chr(58))[0]})")
