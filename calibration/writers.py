"""Which launches computed what the denoiser reads.

Contexts are computed once and stay at fixed addresses (`engine/stages/denoise.py`), so what a
denoiser is handed tells by its address which launch has written it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
Launch = TypeVar("Launch")


class Writers(Generic[Launch]):
    """The last launch that wrote each array."""

    def __init__(self) -> None:
        self._of: dict[str, dict[int, Launch]] = {}

    def note(self, launch: Launch, outputs: Arrays) -> None:
        """`launch` writes these, by the names by which others read them."""
        for name, array in outputs.items():
            self._of.setdefault(name, {})[array.ctypes.data] = launch

    def split(self, inputs: Arrays) -> tuple[Arrays, tuple[Launch, ...]]:
        """The inputs that no launch writes, and the launches that wrote the others, each once."""
        plain = {name: array for name, array in inputs.items() if name not in self._of}
        written = [self._of[name][inputs[name].ctypes.data] for name in inputs if name in self._of]
        return plain, tuple(dict.fromkeys(written))
