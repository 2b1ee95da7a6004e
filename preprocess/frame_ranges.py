"""Ranges of frames, walked in pieces so that memory does not grow with their length."""

from __future__ import annotations

from collections.abc import Iterator

# A 4K frame takes 25 MB, so this many of them stay below 200 MB.
PIECE = 8


def check_range(start: int, stop: int, count: int) -> None:
    """Raise ValueError unless 0 <= start <= stop <= count: asking for more is the caller's bug."""
    if not 0 <= start <= stop <= count:
        raise ValueError(f"frames {start}..{stop} of a source of {count} frames")


def pieces(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """start..stop cut into ranges of at most PIECE frames."""
    for first in range(start, stop, PIECE):
        yield first, min(first + PIECE, stop)
