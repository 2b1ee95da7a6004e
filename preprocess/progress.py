"""How far the preprocessing is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """`done` of `total` frames went through `stage`, which is one of poses, masks and writing."""

    stage: str
    done: int
    total: int


OnProgress = Callable[[Progress], None]
"""Called after every few frames. What it raises ends the work: that is how to cancel it."""


def ignore_progress(_: Progress) -> None:
    """For those who do not look."""
