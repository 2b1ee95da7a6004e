"""How many frames of which size a writer was promised, and how many have come."""

from __future__ import annotations

from wan_trt.engine.errors import ExecutionError


class FrameExtent:
    """Counts the frames of one output."""

    def __init__(self, height: int, width: int, frame_count: int) -> None:
        if min(height, width, frame_count) < 1:
            raise ValueError(f"{frame_count} frames of {width}x{height} pixels")
        self.height = height
        self.width = width
        self.frame_count = frame_count
        self.written = 0

    def accept(self, shape: tuple[int, ...]) -> None:
        """Count frames of shape [n, height, width, 3]; ValueError where that was not promised."""
        if len(shape) != 4 or shape[1:] != (self.height, self.width, 3):
            raise ValueError(f"frames must be [n, {self.height}, {self.width}, 3], not {shape}")
        if self.written + shape[0] > self.frame_count:
            raise ValueError(
                f"{self.written + shape[0]} frames for an output of {self.frame_count}"
            )
        self.written += shape[0]

    def require_complete(self) -> None:
        """Raise ExecutionError while frames are missing: half a result never gets its name."""
        if self.written != self.frame_count:
            raise ExecutionError(
                f"the output was closed after {self.written} frames",
                expected=f"{self.frame_count} frames",
            )
