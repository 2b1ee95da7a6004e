"""What an engine's memory is used for, at one moment."""

from __future__ import annotations

from dataclasses import dataclass

from wan_trt.engine.memory.arena import Usage


@dataclass(frozen=True)
class MemoryInUse:
    """`parked_nbytes` belong to jobs that made room for others, and lie elsewhere."""

    pages: Usage
    parked_nbytes: int
