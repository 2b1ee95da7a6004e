"""What follows from the facts, one line each, with what to do next."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Weight(StrEnum):
    """`PROBLEM`: something that was asked for, or that is there, does not work. `NOTE`: worth
    knowing, nothing is broken."""

    PROBLEM = "problem"
    NOTE = "note"


@dataclass(frozen=True)
class Finding:
    """`about` is the line of the report that it belongs to; `action` is "" where `text` says it."""

    weight: Weight
    about: str
    text: str
    action: str

    def __str__(self) -> str:
        return f"{self.about}: {self.text}" + (f"; {self.action}" if self.action else "")


def problem(about: str, text: str, action: str) -> Finding:
    return Finding(Weight.PROBLEM, about, text, action)


def note(about: str, text: str, action: str) -> Finding:
    return Finding(Weight.NOTE, about, text, action)
