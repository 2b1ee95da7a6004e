"""A verdict of the gate in words, a line for each check."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wan_trt.calibration.gate.verdict import Verdict


def verdict_lines(verdict: Verdict) -> Iterator[str]:
    for note in verdict.measured.notes:
        yield f"note    {note}"
    for check in verdict.checks:
        word = "passed" if check.passed else "FAILED"
        yield f"{word}  {check.name:30} {check.value:<12.6g} {check.bounds} ({check.where})"
