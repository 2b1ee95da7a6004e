"""Initial noise from a safetensors file: float32 `segment.K` [16, F, h, w] for segment K."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.errors import InputError
from wan_trt.media.limits import GENEROUS, MediaLimits
from wan_trt.media.tensor_file import TensorFile

_NAME = re.compile(r"segment\.(0|[1-9]\d*)")


class FileNoise:
    """A NoiseSource that reads one segment at a time."""

    def __init__(
        self,
        path: Path | str,
        field: str | None = "noise",
        limits: MediaLimits = GENEROUS,
    ) -> None:
        """Raises MediaError when the file is unreadable, InputError when it is not noise.

        Names, types and ranks are checked here, from the header alone.
        """
        self._file = TensorFile(Path(path), field, limits)
        self._field = field
        if not self._file.names:
            raise self._wrong("no tensor in it", "float32 tensors segment.0, segment.1, ...")
        for name in self._file.names:
            if not _NAME.fullmatch(name):
                raise self._wrong(f"tensor {name!r}", "names segment.0, segment.1, ...")
            dtype, shape = self._file.dtype(name), self._file.shape(name)
            if dtype != "F32":
                raise self._wrong(f"{name} is {dtype}", "F32")
            if len(shape) != 4:
                raise self._wrong(f"{name} has shape {list(shape)}", "[16, F, h, w]")

    def segment(self, index: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Noise of segment `index`, float32 of `shape`.

        Raises InputError naming the segment when it is missing, of another shape or not finite.
        """
        self._require(index, shape)
        noise: NDArray[np.float32] = self._file.tensor(f"segment.{index}")
        if not np.isfinite(noise).all():
            raise self._wrong(f"segment.{index} holds NaN or infinity", "finite numbers")
        return noise

    def close(self) -> None:
        self._file.close()

    def _require(self, index: int, shape: tuple[int, ...]) -> None:
        name = f"segment.{index}"
        if name not in self._file.names:
            raise self._wrong(
                f"no tensor {name}, only {', '.join(self._file.names[:5])}",
                "one tensor for each segment of the job",
            )
        found = self._file.shape(name)
        if found != tuple(shape):
            raise self._wrong(f"{name} has shape {list(found)}", f"{list(shape)}")

    def _wrong(self, given: str, expected: str) -> InputError:
        return InputError(
            f"{self._file.path}: {given}",
            expected=expected,
            action="make the noise file for this job's size and segments, or give a seed",
            field=self._field,
        )


def open_noise(
    path: Path | str, *, field: str | None = "noise", limits: MediaLimits = GENEROUS
) -> FileNoise:
    """Open a noise file; see `FileNoise` for what is checked when."""
    return FileNoise(path, field, limits)
