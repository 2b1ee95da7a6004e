"""The fastest that the device multiplies and copies, measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from roofline.linears import E4M3
from roofline.sizes import DitSizes
from roofline.timing import Clock
from roofline.work import Ceilings

_BUDGET_S = 1.0
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Ceiling:
    """`rate`: operations or bytes a second at each shape; `failed` says why there is none."""

    name: str
    rates: Mapping[str, float]
    failed: str | None = None

    @property
    def best(self) -> float | None:
        return max(self.rates.values(), default=None)


def shapes(dit: DitSizes, tokens: int) -> tuple[Shape, ...]:
    """Rows, inner size, columns: a cube, and the model's own products. More rows than these fill
    no GPU better."""
    rows = min(tokens, 32768)
    cube = 8192 if dit.dim > 1024 else 64
    return (
        (cube, cube, cube),
        (rows, dit.dim, dit.dim),
        (rows, dit.dim, dit.ffn),
        (rows, dit.ffn, dit.dim),
    )


def measure(clock: Clock, sizes: Sequence[Shape], copy_nbytes: int) -> tuple[Ceiling, ...]:
    """Of matrix products in bfloat16, in FP8 with one scale and with one for each row and column,
    and of copies on the device, bytes read plus bytes written."""
    products = {
        "bf16 matmul": _bf16,
        "fp8 matmul": _fp8,
        "fp8 matmul, scaled rows and columns": _fp8_columns,
    }
    found = [_product(clock, name, make, sizes) for name, make in products.items()]
    return (*found, _copy(clock, copy_nbytes))


def summary(found: Sequence[Ceiling]) -> Ceilings:
    """Raises RuntimeError where not even bfloat16 could be multiplied."""
    bf16, fp8, fp8_columns, copy = found
    if bf16.best is None:
        raise RuntimeError(f"no bfloat16 matrix product: {bf16.failed}")
    eight_bit = [ceiling.best for ceiling in (fp8, fp8_columns) if ceiling.best is not None]
    return Ceilings(bf16.best, max(eight_bit, default=None), copy.best)


def _product(
    clock: Clock,
    name: str,
    make: Callable[[torch.Tensor, torch.Tensor], Callable[[], object]],
    sizes: Sequence[Shape],
) -> Ceiling:
    rates: dict[str, float] = {}
    failed = None
    for rows, inner, columns in sizes:
        try:
            left = torch.randn(rows, inner, device=clock.device, dtype=torch.bfloat16)
            right = torch.randn(columns, inner, device=clock.device, dtype=torch.bfloat16)
            taken = clock.measure(name, make(left, right), _BUDGET_S)
        except (RuntimeError, ValueError, NotImplementedError) as error:
            failed = str(error).splitlines()[0]
            continue
        rates[f"{rows}x{inner}x{columns}"] = 2 * rows * inner * columns / taken.median_s
    return Ceiling(name, rates, failed)


def _bf16(left: torch.Tensor, right: torch.Tensor) -> Callable[[], object]:
    return lambda: left @ right.t()


def _fp8(left: torch.Tensor, right: torch.Tensor) -> Callable[[], object]:
    one = torch.ones((), device=left.device)
    return _scaled(left, right, one, one)


def _fp8_columns(left: torch.Tensor, right: torch.Tensor) -> Callable[[], object]:
    rows = torch.ones(left.shape[0], 1, device=left.device)
    return _scaled(left, right, rows, torch.ones(1, right.shape[0], device=left.device))


def _scaled(
    left: torch.Tensor, right: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor
) -> Callable[[], object]:
    narrow, other = left.to(E4M3), right.to(E4M3).t()
    return lambda: torch._scaled_mm(
        narrow, other, scale_a=rows, scale_b=columns, out_dtype=torch.bfloat16, use_fast_accum=True
    )


def _copy(clock: Clock, nbytes: int) -> Ceiling:
    try:
        source = torch.randint(0, 255, (nbytes,), device=clock.device, dtype=torch.uint8)
        target = torch.empty_like(source)
        taken = clock.measure("copy", lambda: target.copy_(source), _BUDGET_S)
    except RuntimeError as error:
        return Ceiling("copy", {}, str(error).splitlines()[0])
    return Ceiling("copy", {f"{nbytes / 1e9:g} GB": 2 * nbytes / taken.median_s})
