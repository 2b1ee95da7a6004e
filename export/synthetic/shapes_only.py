"""Checkpoints of any size that take no room: names and shapes, and no values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch

from wan_trt.export.synthetic.dit_shapes import Shape


class ShapesOnly:
    """A TensorSource that can be planned and traced with; to read it is a bug."""

    def __init__(self, shapes: Mapping[str, Shape]) -> None:
        self._shapes = shapes

    @property
    def parameters(self) -> int:
        """Elements of all tensors."""
        return sum(math.prod(shape) for shape in self._shapes.values())

    def names(self) -> Iterable[str]:
        return self._shapes.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        return self._shapes[name]

    def read(self, name: str, rows: slice | None = None) -> torch.Tensor:
        del rows
        raise AssertionError(f"{name} was read, and has a shape only")
