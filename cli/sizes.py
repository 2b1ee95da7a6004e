"""Sizes of videos as they are typed."""

from __future__ import annotations

from wan_trt.engine.errors import InputError


def parse_size(text: str) -> tuple[int, int]:
    """Width and height of `1280x720`. Raises InputError."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise InputError(
            repr(text), expected="WIDTHxHEIGHT", action="write it as in 832x480", field="size"
        )
    return int(width), int(height)
