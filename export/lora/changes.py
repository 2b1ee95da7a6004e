"""Full-strength changes of one weight, before scale and strength: what factors multiply out to.

Each kind offers the same five members. Shapes are checked before anything is read: `defect` says
what is wrong with the factors among themselves, `shape` what their product can be reshaped to.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from wan_trt.export.lora.adapter_file import Factor

Shape = tuple[int, ...]
Rows = Callable[[slice], torch.Tensor]


class Change(Protocol):
    @property
    def factors(self) -> tuple[Factor, ...]: ...

    @property
    def rank(self) -> int | None:
        """What alpha is divided by; None where there is no scale."""
        ...

    def defect(self) -> str:
        """Why the factors cannot be multiplied; empty if they can."""
        ...

    def fits(self, base: Shape) -> bool:
        """Whether the product is a change to a weight of this shape."""
        ...

    def made(self) -> Shape:
        """The product's own shape, for messages and for telling the base apart."""
        ...

    def full(self, base: Shape) -> torch.Tensor:
        """The product as float32 of shape `base`."""
        ...

    def by_rows(self, base: Shape, scale: float) -> Rows:
        """scale * the product, some rows at a time; the factors are read once."""
        ...


class Whole(ABC):
    """What a kind does whose product cannot be had in parts."""

    @abstractmethod
    def full(self, base: Shape) -> torch.Tensor:
        """See `Change.full`."""

    def by_rows(self, base: Shape, scale: float) -> Rows:
        whole = self.full(base).mul_(scale)
        return lambda rows: whole[rows]


def bare(shape: Shape) -> Shape:
    """Without trailing ones: 1x1 convolutions and linears are the same thing to an adapter."""
    while len(shape) > 1 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def matrix(tensor: torch.Tensor) -> torch.Tensor:
    """[rows, everything else]."""
    return tensor.reshape(tensor.shape[0], -1)


@dataclass(frozen=True)
class LowRank(Whole):
    """up @ down, with the kernel of a convolution in `down` or in `mid` (LoCon).

    down [rank, in, *kernel], up [out, rank]; or down [rank, in], mid [rank, rank, *kernel].
    """

    down: Factor
    up: Factor
    mid: Factor | None = None

    @property
    def factors(self) -> tuple[Factor, ...]:
        return (self.down, self.up) if self.mid is None else (self.down, self.up, self.mid)

    @property
    def rank(self) -> int:
        return self.down.shape[0] if self.down.shape else 0

    def defect(self) -> str:
        down, up = self.down.shape, bare(self.up.shape)
        inner = up[1] if len(up) > 1 else 1
        if len(down) < 2 or len(self.up.shape) < 2 or len(up) > 2 or not self.rank:
            return f"factors {list(down)} and {list(self.up.shape)} are no matrices"
        if self.mid is not None:
            mid = self.mid.shape
            if mid[:2] != (inner, down[0]) or len(bare(down)) > 2:
                return f"factors {list(down)}, {list(mid)} and {list(up)} have different ranks"
        elif inner != down[0]:
            return f"factors {list(down)} and {list(self.up.shape)} have different ranks"
        return ""

    def fits(self, base: Shape) -> bool:
        flat = (base[0], math.prod(base[1:]))
        made = self.made()
        return bare(made) == bare(base) or (self.mid is None and bare(made) == bare(flat))

    def made(self) -> Shape:
        kernel = self.down.shape[2:] if self.mid is None else self.mid.shape[2:]
        return (self.up.shape[0], self.down.shape[1], *kernel)

    def full(self, base: Shape) -> torch.Tensor:
        up, down = matrix(self.up.read()), matrix(self.down.read())
        if self.mid is None:
            return (up @ down).reshape(base)
        return torch.einsum("om,mn...,ni->oi...", up, self.mid.read(), down).reshape(base)

    def by_rows(self, base: Shape, scale: float) -> Rows:
        if self.mid is not None:
            return super().by_rows(base, scale)
        up, down = matrix(self.up.read()), matrix(self.down.read())
        return lambda rows: (up[rows] @ down).mul_(scale).reshape(-1, *base[1:])


@dataclass(frozen=True)
class Hadamard(Whole):
    """LoHa: (w1_a w1_b) * (w2_a w2_b), element by element.

    w_a [out, rank], w_b [rank, in * kernel]; or with t [rank, rank, *kernel] (Tucker):
    w_a [rank, out], w_b [rank, in] on each side (LyCORIS).
    """

    first: tuple[Factor, Factor]
    second: tuple[Factor, Factor]
    tucker: tuple[Factor, Factor] | None = None

    @property
    def factors(self) -> tuple[Factor, ...]:
        return (*self.first, *self.second, *(self.tucker or ()))

    @property
    def rank(self) -> int:
        return self.first[1].shape[0] if self.first[1].shape else 0

    def defect(self) -> str:
        shapes = [list(factor.shape) for factor in self.factors]
        if not self.rank or any(len(shape) < 2 for shape in shapes):
            return f"factors {shapes} are no matrices"
        for side, (a, b) in enumerate((self.first, self.second)):
            if self.tucker is None:
                fit = a.shape[1] == b.shape[0]
            else:
                fit = self.tucker[side].shape[:2] == (a.shape[0], b.shape[0])
            if not fit:
                return f"factors {shapes} have different ranks"
        return ""

    def fits(self, base: Shape) -> bool:
        if self.tucker is not None:
            return self._side(0) == self._side(1) and bare(self.made()) == bare(base)
        flat = (base[0], math.prod(base[1:]))
        return self._side(0) == self._side(1) == flat

    def made(self) -> Shape:
        return self._side(0)

    def _side(self, side: int) -> Shape:
        a, b = (self.first, self.second)[side]
        if self.tucker is None:
            return (a.shape[0], math.prod(b.shape[1:]))
        return (a.shape[1], b.shape[1], *self.tucker[side].shape[2:])

    def full(self, base: Shape) -> torch.Tensor:
        return (self._product(0) * self._product(1)).reshape(base)

    def _product(self, side: int) -> torch.Tensor:
        a, b = (factor.read() for factor in (self.first, self.second)[side])
        if self.tucker is None:
            return a @ matrix(b)
        return torch.einsum("ij...,io,jn->on...", self.tucker[side].read(), a, b)


@dataclass(frozen=True)
class Given(Whole):
    """A change that is stored in full."""

    value: Factor

    @property
    def factors(self) -> tuple[Factor, ...]:
        return (self.value,)

    @property
    def rank(self) -> None:
        return None

    def defect(self) -> str:
        return ""

    def fits(self, base: Shape) -> bool:
        return self.value.shape == base

    def made(self) -> Shape:
        return self.value.shape

    def full(self, base: Shape) -> torch.Tensor:
        return self.value.read().reshape(base)
