"""Safetensors files: lazy reading, with every complaint as a MediaError."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from wan_trt.engine.errors import MediaError
from wan_trt.media.input_files import one_line, require_file
from wan_trt.media.limits import GENEROUS, MediaLimits

_HEADER_NBYTES = 1 << 20


class TensorFile:
    """The tensors of one file by name. Only what is asked for is read."""

    def __init__(
        self, path: Path, field: str | None = None, limits: MediaLimits = GENEROUS
    ) -> None:
        """Raises MediaError when the file is missing, truncated or not safetensors."""
        self.nbytes = require_file(path, field, limits)
        _require_short_header(path, self.nbytes, field)
        self.path = path
        self.field = field
        opener: Any = safe_open
        try:
            self._file: Any = opener(str(path), framework="numpy")
        except (SafetensorError, OSError) as error:
            raise MediaError(
                f"{path}: not a whole safetensors file ({one_line(error)})",
                expected="a complete .safetensors file",
                action="write or copy it again",
                field=field,
            ) from error
        self.names = sorted(str(name) for name in self._file.keys())  # noqa: SIM118

    def shape(self, name: str) -> tuple[int, ...]:
        """The tensor's shape, from the header."""
        return tuple(int(side) for side in self._file.get_slice(name).get_shape())

    def dtype(self, name: str) -> str:
        """The tensor's type in the format's own words: U8, F32, BF16, ..."""
        return str(self._file.get_slice(name).get_dtype())

    def rows(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Rows start..stop-1 along the first axis."""
        rows: NDArray[Any] = self._file.get_slice(name)[start:stop]
        return rows

    def tensor(self, name: str) -> NDArray[Any]:
        """The whole tensor, as an array of its own."""
        return np.array(self._file.get_tensor(name))

    def close(self) -> None:
        """Let go of the file; idempotent."""
        self._file = None


def _require_short_header(path: Path, file_nbytes: int, field: str | None) -> None:
    """Frames and noise are a few tensors; a header of many MB is there to fill memory."""
    with path.open("rb") as file:
        nbytes = int.from_bytes(file.read(8), "little")
    if _HEADER_NBYTES < nbytes <= file_nbytes:  # a longer one is refused anyway
        raise MediaError(
            f"{path}: a safetensors header of {nbytes} bytes",
            expected=f"at most {_HEADER_NBYTES}",
            action="write it again with fewer tensors and less metadata",
            field=field,
        )
