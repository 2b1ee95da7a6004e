"""The result of a run as `generate` writes it with a name that ends in .safetensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.errors import MediaError
from wan_trt.engine.request import Request
from wan_trt.media.tensor_file import TensorFile

_FRAMES, _LATENTS = "frames", "latents."


class VideoFile:
    """Float32 `frames` [T, H, W, 3] in [-1, 1], and `latents.K` of segment K; read in parts."""

    def __init__(self, path: Path, field: str | None = None) -> None:
        """Raises MediaError for a file without float32 frames."""
        self._file = TensorFile(path, field)
        names = self._file.names
        dtype = self._file.dtype(_FRAMES) if _FRAMES in names else None
        if dtype != "F32" or len(self._file.shape(_FRAMES)) != 4:
            raise self._wrong(
                f"its frames are {dtype}" if dtype else f"no tensor {_FRAMES!r}",
                "float32 frames [T,H,W,3] as `generate --out NAME.safetensors` writes them",
            )

    @property
    def segments(self) -> tuple[int, ...]:
        """The segments whose latents are there."""
        names = (name.removeprefix(_LATENTS) for name in self._file.names if _LATENTS in name)
        return tuple(sorted(int(name) for name in names if name.isdecimal()))

    def require(self, request: Request) -> None:
        """Raise MediaError unless it is as long and large as the request's result."""
        expected = (request.frame_count, request.height, request.width, 3)
        if (found := self._file.shape(_FRAMES)) != expected:
            raise self._wrong(f"frames {list(found)}", f"{list(expected)}, the size of this job")

    def frames(self, start: int, stop: int) -> NDArray[np.float32]:
        """Frames start..stop-1."""
        frames: NDArray[np.float32] = self._file.rows(_FRAMES, start, stop)
        return frames

    def require_latents(self, other: VideoFile) -> None:
        """Raise MediaError unless its latents have the segments and shapes of the other's."""
        for segment in sorted({*self.segments, *other.segments}):
            name = f"{_LATENTS}{segment}"
            found, expected = (
                list(file._file.shape(name)) if segment in file.segments else "missing"
                for file in (self, other)
            )
            if found != expected:
                raise self._wrong(f"{name} is {found}", f"{expected}, as this job has it")

    def latents(self, segment: int) -> NDArray[np.float32]:
        """Final latents of a segment, float32 [16, F, h, w]."""
        latents: NDArray[np.float32] = self._file.tensor(f"{_LATENTS}{segment}")
        return latents

    def close(self) -> None:
        self._file.close()

    def _wrong(self, given: str, expected: str) -> MediaError:
        return MediaError(
            f"{self._file.path}: {given}",
            expected=expected,
            action="give the result of the same job",
            field=self._file.field,
        )
