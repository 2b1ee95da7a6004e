"""A change to one weight tensor, and the file it comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch


class Delta(Protocol):
    """Changes the tensor `target` of the model (original name, e.g. blocks.0.ffn.0.weight).

    Changes are always taken against the original weight, so the order of a stack is of no matter.
    """

    @property
    def target(self) -> str: ...

    def change(self, base: torch.Tensor) -> torch.Tensor:
        """What is added to `base`, the original weight; float32 of its shape."""
        ...

    def describe(self) -> dict[str, Any]:
        """Rank, alpha, scale: what the report says of it."""
        ...


@dataclass(frozen=True)
class LowRankDelta:
    """strength * (alpha / rank) * up @ down; the factors are read when they are needed.

    `down` is [rank, in, ...] and `up` [out, rank, ...]; alpha None means alpha = rank.
    """

    target: str
    rank: int
    alpha: float | None
    strength: float
    read_down: Callable[[], torch.Tensor]
    read_up: Callable[[], torch.Tensor]

    @property
    def scale(self) -> float:
        """What multiplies up @ down."""
        return self.strength * (1.0 if self.alpha is None else self.alpha / self.rank)

    def change(self, base: torch.Tensor) -> torch.Tensor:
        up, down = self.read_up(), self.read_down()
        product = up.reshape(up.shape[0], -1) @ down.reshape(down.shape[0], -1)
        return self.scale * product.reshape(base.shape)

    def describe(self) -> dict[str, Any]:
        return {"rank": self.rank, "alpha": self.alpha, "scale": self.scale}


@dataclass(frozen=True)
class LoraFile:
    """One adapter file, read: its deltas, and every key accounted for."""

    path: str
    sha256: str
    family: str
    strength: float
    deltas: tuple[Delta, ...]
    matched_keys: tuple[str, ...]
    unmatched_keys: tuple[str, ...]
