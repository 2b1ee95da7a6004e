"""LoKr: the Kronecker product of two matrices, each of which may be factored itself."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from wan_trt.export.lora.adapter_file import Factor
from wan_trt.export.lora.changes import Shape, Whole, bare, matrix


@dataclass(frozen=True)
class Side:
    """One operand: `whole` [rows, columns, *kernel], or a @ b.

    a [rows, rank], b [rank, columns * kernel]; with `core` [rank, rank, *kernel] (Tucker):
    a [rank, rows], b [rank, columns].
    """

    whole: Factor | None = None
    pair: tuple[Factor, Factor] | None = None
    core: Factor | None = None

    @property
    def factors(self) -> tuple[Factor, ...]:
        found = (self.whole, *(self.pair or ()), self.core)
        return tuple(factor for factor in found if factor is not None)

    @property
    def rank(self) -> int | None:
        return self.pair[1].shape[0] if self.pair and self.pair[1].shape else None

    def defect(self) -> str:
        shapes = [list(factor.shape) for factor in self.factors]
        if any(len(shape) < 2 for shape in shapes):
            return f"factors {shapes} are no matrices"
        if self.pair is not None:
            a, b = (factor.shape for factor in self.pair)
            ranks = (a[1], b[0]) if self.core is None else (a[0], b[0])
            inner = (b[0], b[0]) if self.core is None else self.core.shape[:2]
            if ranks != inner or not b[0]:
                return f"factors {shapes} have different ranks"
        return ""

    def made(self) -> Shape:
        if self.pair is None:
            assert self.whole is not None
            return self.whole.shape
        a, b = (factor.shape for factor in self.pair)
        if self.core is None:
            return (a[0], math.prod(b[1:]))
        return (a[1], b[1], *self.core.shape[2:])

    def product(self) -> torch.Tensor:
        """float32 of shape `made()`."""
        if self.pair is None:
            assert self.whole is not None
            return self.whole.read()
        a, b = (factor.read() for factor in self.pair)
        if self.core is None:
            return a @ matrix(b)
        return torch.einsum("ij...,io,jn->on...", self.core.read(), a, b)


@dataclass(frozen=True)
class Kronecker(Whole):
    """kron(first, second); scaled by alpha / rank once, and not at all if both sides are whole."""

    first: Side
    second: Side

    @property
    def factors(self) -> tuple[Factor, ...]:
        return (*self.first.factors, *self.second.factors)

    @property
    def rank(self) -> int | None:
        return self.first.rank or self.second.rank

    def defect(self) -> str:
        return self.first.defect() or self.second.defect()

    def fits(self, base: Shape) -> bool:
        flat = (base[0], math.prod(base[1:]))
        return bare(self.made()) in (bare(base), bare(flat))

    def made(self) -> Shape:
        first, second = self.first.made(), self.second.made()
        length = max(len(first), len(second))
        first, second = (shape + (1,) * (length - len(shape)) for shape in (first, second))
        return tuple(a * b for a, b in zip(first, second, strict=True))

    def full(self, base: Shape) -> torch.Tensor:
        first, second = self.first.product(), self.second.product()
        # torch.kron would add the missing axes in front; a kernel's axes stand at the end.
        first = first.reshape(*first.shape, *[1] * (second.dim() - first.dim()))
        second = second.reshape(*second.shape, *[1] * (first.dim() - second.dim()))
        return torch.kron(first.contiguous(), second.contiguous()).reshape(base)
