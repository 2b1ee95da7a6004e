"""What the benchmark found, and what it left out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from roofline.work import Ceilings, Work


class Stage(StrEnum):
    ATTENTION = "attention"
    BLOCK = "block"
    FORWARD = "forward"


@dataclass(frozen=True)
class Setting:
    """What a number is of: an attention by itself, or a denoiser's linears, attention and mode."""

    attention: str
    linears: str = ""
    mode: str = ""


@dataclass(frozen=True)
class Measured:
    """Seconds of one thing at one size: median, least and greatest of `repeats` runs. `error` is
    |difference| / |float32 result| on few tokens: of an attention's output, of what a block adds to
    its input, of a forward pass's velocity."""

    stage: Stage
    size: str
    tokens: int
    linears: str
    attention: str
    mode: str
    median_s: float
    least_s: float
    most_s: float
    repeats: int
    bf16_operations: int
    eight_bit_operations: int
    fraction_of_ceiling: float
    peak_nbytes: int | None
    error: float | None

    @property
    def work(self) -> Work:
        return Work(self.bf16_operations, self.eight_bit_operations)

    @property
    def rate(self) -> float:
        """Operations a second."""
        return self.work.total / self.median_s


@dataclass(frozen=True)
class Missing:
    """Something that was not measured, and why."""

    what: str
    why: str


@dataclass
class Results:
    """`label` says what the numbers are worth where they are no GPU's."""

    machine: Mapping[str, Any]
    model: Mapping[str, Any]
    label: str = ""
    ceilings: dict[str, Mapping[str, float]] = field(default_factory=dict)
    best: Ceilings | None = None
    measured: list[Measured] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    wall_s: float = 0.0

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.to_json())
