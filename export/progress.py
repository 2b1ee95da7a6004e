"""What an export tells of itself while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """In this order; before `GATE` is over those of a second bundle may come. `SOURCES` and
    `WEIGHTS` count bytes, the others nothing."""

    CHECKPOINT = "checkpoint"  # finding out what it holds, and matching LoRAs
    SOURCES = "sources"  # hashing the files that are read
    WEIGHTS = "weights"  # reading, folding, rounding, hashing and writing tensors
    GRAPHS = "graphs"  # tracing modules, without weights
    PROMPTS = "prompts"  # encoding the model's own prompts
    GATE = "gate"  # comparing the bundle with a reference
    DONE = "done"


@dataclass(frozen=True)
class Progress:
    """`text` says what is done now, or, at the start of a stage and in the end, what was found.
    Bytes are those of the whole stage."""

    stage: Stage
    text: str
    done_nbytes: int = 0
    total_nbytes: int = 0


OnProgress = Callable[[Progress], None]
