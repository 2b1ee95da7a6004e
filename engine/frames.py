"""Where frames come from and where they go: the seam between the engine and media files."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class FrameSource(Protocol):
    """A sequence of RGB frames of one size that is read in ranges, so length costs no memory."""

    @property
    def count(self) -> int:
        """Number of frames."""
        ...

    @property
    def height(self) -> int: ...

    @property
    def width(self) -> int: ...

    @property
    def rate(self) -> Fraction | None:
        """Frames per second, exact; None where the source has no clock (pictures, tensors)."""
        ...

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Frames start..stop-1 as uint8 [stop - start, height, width, 3] in RGB.

        Raises MediaError when a frame cannot be decoded.
        """
        ...

    def close(self) -> None: ...


class FrameSink(Protocol):
    """Receives the frames of one job in order, exactly once each."""

    def write(self, frames: NDArray[np.float32]) -> None:
        """Append frames, float32 [n, height, width, 3] in [-1, 1]."""
        ...

    def write_latents(self, segment: int, latents: NDArray[np.float32]) -> None:
        """Final latents of a segment, float32 [16, F, h, w], reference latent first."""
        ...

    def close(self) -> None:
        """All frames are written: make the result appear under its name."""
        ...

    def abort(self) -> None:
        """The job ended early: leave nothing behind."""
        ...


OpenSink = Callable[[], FrameSink]
"""Opens where a job's frames go, for an engine that first finds out whether the job can run."""


class ArrayFrames:
    """Frames already in memory, uint8 [count, height, width, 3]."""

    def __init__(self, frames: NDArray[np.uint8], rate: Fraction | None = None) -> None:
        if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
            raise ValueError(f"frames must be uint8 [T,H,W,3], not {frames.dtype} {frames.shape}")
        self._frames = frames
        self.rate = rate
        self.count, self.height, self.width = (int(n) for n in frames.shape[:3])

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        return self._frames[start:stop]

    def close(self) -> None:
        """Nothing is held open."""


class CollectedFrames:
    """A sink that keeps everything in memory: for scripts and tests."""

    def __init__(self) -> None:
        self._chunks: list[NDArray[np.float32]] = []
        self.latents: dict[int, NDArray[np.float32]] = {}
        self.closed = False

    @property
    def frames(self) -> NDArray[np.float32]:
        """All frames so far, float32 [T, H, W, 3] in [-1, 1]."""
        return np.concatenate(self._chunks)

    def write(self, frames: NDArray[np.float32]) -> None:
        self._chunks.append(frames.copy())

    def write_latents(self, segment: int, latents: NDArray[np.float32]) -> None:
        self.latents[segment] = latents.copy()

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self._chunks.clear()
        self.latents.clear()
