"""TensorSource: named tensors that are read one at a time, whatever file they lie in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import torch


class TensorSource(Protocol):
    """A flat mapping of names to tensors. Reading one tensor does not read the others."""

    def names(self) -> Iterable[str]: ...

    def shape(self, name: str) -> tuple[int, ...]:
        """Raises CheckpointError when there is no such tensor."""
        ...

    def read(self, name: str, rows: slice | None = None) -> torch.Tensor:
        """The tensor, or some of its rows, as float32 in memory of its own. Raises
        CheckpointError when absent."""
        ...


class MemoryTensors:
    """Tensors already in memory."""

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self._tensors = dict(tensors)

    def names(self) -> Iterable[str]:
        return self._tensors.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._tensors[name].shape)

    def read(self, name: str, rows: slice | None = None) -> torch.Tensor:
        tensor = self._tensors[name]
        return (tensor if rows is None else tensor[rows]).to(torch.float32, copy=True)
