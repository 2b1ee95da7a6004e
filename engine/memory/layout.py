"""Where tensors lie in one piece of memory: known before there is any (pure)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from wan_trt.engine.executor import TensorSpec, item_nbytes

ALIGNMENT = 256
"""Bytes; what backends want of the tensors that they bind."""


@dataclass(frozen=True)
class TensorShape:
    """Shape and dtype of a tensor that has no memory yet."""

    shape: tuple[int, ...]
    dtype: str = "float32"

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * item_nbytes(self.dtype)


def shapes_of(specs: Iterable[TensorSpec], sizes: Mapping[str, int]) -> dict[str, TensorShape]:
    """A graph's tensors by name, at these values of its symbols."""
    return {spec.name: TensorShape(spec.shape(sizes), spec.dtype) for spec in specs}


class Layout:
    """Tensors one behind the other, each at a multiple of 256 bytes. Equal shapes in equal order
    give equal offsets."""

    def __init__(self, shapes: Mapping[str, TensorShape]) -> None:
        self.shapes = dict(shapes)
        self.offsets: dict[str, int] = {}
        self.nbytes = 0
        for name, tensor in self.shapes.items():
            self.offsets[name] = self.nbytes
            self.nbytes += -(-tensor.nbytes // ALIGNMENT) * ALIGNMENT
