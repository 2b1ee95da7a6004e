"""Around imports that need one of the package's extras."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from wan_trt.engine.errors import InputError


@contextmanager
def needs_extra(name: str) -> Iterator[None]:
    """Raises InputError, which says what to install, where a module inside the block is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise InputError(
            f"the module {error.name} is not installed",
            expected=f"the extra `{name}`",
            action=f"pip install 'wan-trt[{name}]'",
        ) from None
