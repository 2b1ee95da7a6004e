"""A change to one weight tensor by one adapter, scaled; and DoRA's renormalisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from wan_trt.export.lora.adapter_file import Factor
from wan_trt.export.lora.changes import Change, Rows, Shape


@dataclass(frozen=True)
class Delta:
    """Changes the tensor `target` of the model (original name, e.g. blocks.0.ffn.0.weight).

        strength * scale * change                                plain
        strength * (m * V / |V| - W),  V = W + scale * change    with DoRA's magnitude m

    Changes are always taken against the original weight, so the order of a stack is of no matter;
    with strength 0 the weight stays as it is, also with DoRA. `half` is the half of the rows that
    is changed (0 the first, 1 the second), None all of them.
    """

    target: str
    change_of: Change
    strength: float
    scale: float = 1.0
    alpha: float | None = None
    half: int | None = None
    magnitude: Factor | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of the file that make it."""
        factors = (*self.change_of.factors, *([self.magnitude] if self.magnitude else []))
        return tuple(factor.key for factor in factors)

    def by_rows(self, base: torch.Tensor) -> Rows:
        """What is added to `base`, the original weight, some rows at a time: float32."""
        if self.half is None:
            return self._by_rows(base)
        count = base.shape[0] // 2
        part = slice(self.half * count, (self.half + 1) * count)
        change = torch.zeros_like(base)
        change[part] = self._by_rows(base[part])(slice(None))
        return lambda rows: change[rows]

    def _by_rows(self, base: torch.Tensor) -> Rows:
        shape = tuple(base.shape)
        if self.magnitude is None:
            return self.change_of.by_rows(shape, self.scale * self.strength)
        change = self.change_of.full(shape).mul_(self.scale)
        whole = _renormalised(base + change, self.magnitude.read()).sub_(base).mul_(self.strength)
        return lambda rows: whole[rows]

    def describe(self) -> dict[str, Any]:
        """Rank, alpha and scale: what the report says of it. `scale` includes the strength."""
        return {
            "rank": self.change_of.rank,
            "alpha": self.alpha,
            "scale": self.strength * self.scale,
            "dora": self.magnitude is not None,
        }


def half_shape(shape: Shape, half: int | None) -> Shape:
    """The shape of a half of the rows, or all."""
    return shape if half is None else (shape[0] // 2, *shape[1:])


def magnitude_axis(magnitude: Shape, base: Shape) -> int | None:
    """The axis along which DoRA keeps one norm for each index; None if the sizes fit neither.

    [out], [out, 1, ..]: one norm of each output row (PEFT, LyCORIS with wd_on_output);
    [1, in, 1, ..]: one of each input column (older LyCORIS and kohya);
    [1, out, 1, ..]: how PEFT stores the rows of a convolution.
    """
    ones: Sequence[int] = (1,) * len(magnitude)
    if not magnitude or len(magnitude) > len(base) or len(base) < 2:
        return None
    if magnitude == (base[0], *ones[1:]):
        return 0
    if len(magnitude) > 1 and magnitude == (1, base[1], *ones[2:]):
        return 1
    if len(magnitude) > 2 and magnitude == (1, base[0], *ones[2:]):
        return 0
    return None


def _renormalised(value: torch.Tensor, magnitude: torch.Tensor) -> torch.Tensor:
    """magnitude * value / |value|, the norm over all axes but that of the magnitude."""
    axis = magnitude_axis(tuple(magnitude.shape), tuple(value.shape))
    assert axis is not None, "checked when the file was read"
    others = [other for other in range(value.dim()) if other != axis]
    norm = torch.linalg.vector_norm(value, dim=others, keepdim=True)
    # A vector of zeros has no direction and stays zero.
    norm = norm.clamp_min(torch.finfo(torch.float32).tiny)
    renormalised: torch.Tensor = value * (magnitude.reshape(norm.shape) / norm)
    return renormalised
