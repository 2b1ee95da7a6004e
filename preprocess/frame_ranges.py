"""Ranges of frames, walked in pieces so that memory does not grow with their length."""

from __future__ import annotations

from collections.abc import Iterator

# A 4K frame takes 25 MB, so this many of them stay below 200 MB.
PIECE = 8


def pieces(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """start..stop cut into ranges of at most PIECE frames."""
    for first in range(start, stop, PIECE):
        yield first, min(first + PIECE, stop)
