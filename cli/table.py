"""Rows of text in columns."""

from __future__ import annotations

from collections.abc import Sequence


def table_lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as their longest text, two spaces between; control characters, which would
    move a terminal's cursor, are shown as ?."""
    cells = [[_shown(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
