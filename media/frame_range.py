"""The range of frames a reader is asked for."""

from __future__ import annotations


def check_range(start: int, stop: int, count: int) -> None:
    """Raise ValueError unless 0 <= start <= stop <= count: asking for more is the caller's bug."""
    if not 0 <= start <= stop <= count:
        raise ValueError(f"frames {start}..{stop} of a source of {count} frames")
