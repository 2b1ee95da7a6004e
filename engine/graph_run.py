"""One thing that a job has a graph do, as far as it says what must be there to do it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class GraphRun:
    """A graph with one of its weight sets at one size: values of its symbols, and maybe others."""

    graph: str
    weight_set: str
    sizes: Mapping[str, int]
