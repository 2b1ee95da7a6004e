"""What the tests of jobs on the toy bundle share: a sink that tells how it was left."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine import AnimateRequest, Bundle, CollectedFrames, Engine

MakeBundle = Callable[..., Bundle]
MakeRequest = Callable[..., AnimateRequest]


class Sink(CollectedFrames):
    """Counts how it was left, and can be made to fail."""

    def __init__(self, fail: Exception | None = None) -> None:
        super().__init__()
        self.fail = fail
        self.endings: list[str] = []

    def write(self, frames: NDArray[np.float32]) -> None:
        if self.fail is not None:
            raise self.fail
        super().write(frames)

    def close(self) -> None:
        self.endings.append("close")
        super().close()

    def abort(self) -> None:
        self.endings.append("abort")
        super().abort()


def run_to_end(engine: Engine) -> None:
    while engine.step():
        pass
