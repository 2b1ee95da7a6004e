"""What the silent libraries wrote down, and what of memory follows from it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


class RecordedCalls:
    """The calls since they were last taken; CUDA_CALLS names their file."""

    def __init__(self) -> None:
        self._file = Path(os.environ["CUDA_CALLS"])
        self._file.write_text("")

    def take(self) -> list[str]:
        calls = self._file.read_text().splitlines()
        self._file.write_text("")
        return calls


@dataclass(frozen=True)
class Held:
    """Bytes of device memory: held after some calls, and at most on the way."""

    nbytes: int
    peak_nbytes: int


def held(calls: Iterable[str], before_nbytes: int = 0) -> Held:
    now = peak = before_nbytes
    for call in calls:
        kind, *words = call.split()
        if kind == "allocate":
            now += int(words[0])
        elif kind == "free":
            now -= int(words[0])
        peak = max(peak, now)
    return Held(now, peak)
