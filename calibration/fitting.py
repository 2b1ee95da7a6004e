"""Fits an FP8 linear's column scales and bias to its matrix and what it reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from wan_trt.calibration.seen_inputs import SeenInput
from wan_trt.export.quantize.e4m3 import input_scale, rounded, scales_for
from wan_trt.export.quantize.fitted import Fitted

# E4M3's steps double from one power of two to the next: beyond twice the least scale the numbers
# that a column is rounded to repeat themselves.
_SCALES = 128


@dataclass(frozen=True, eq=False)
class Read:
    """What an expert's linear reads: `seen`, and the `range` that it is rounded by, None where it
    is not."""

    seen: SeenInput
    range: float | None = None

    def rows(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """The rows that were drawn, as they were and as the product reads them."""
        rows = self.seen.rows.to(device)
        if self.range is None:
            return rows, rows
        return rows, rounded(rows, input_scale(self.range).to(device))


def fit(weight: torch.Tensor, has_bias: bool, reads: Sequence[Read]) -> list[Fitted]:
    """For each of the experts that share a matrix, float32 [in, out], and read these: the same
    column scales, and a bias shift of its own."""
    # The bias takes back what is the same for every row.
    pairs = [tuple(rows - rows.mean(0) for rows in read.rows(weight.device)) for read in reads]
    exact, product = (torch.cat(rows) for rows in zip(*pairs, strict=True))
    scales = best_scales(weight, exact, product)
    columns = _array(scales)
    return [
        Fitted(columns, _array(-_moved(weight, scales, read)) if has_bias else None)
        for read in reads
    ]


def best_scales(weight: torch.Tensor, exact: torch.Tensor, product: torch.Tensor) -> torch.Tensor:
    """float32 [out]: of each column, from the least scale that holds its values up to twice that,
    the one by which `product` @ rounded weight is nearest to `exact` @ weight in the sum of
    squares. `exact` and `product` float32 [n, in] are what is read and what becomes of it."""
    others = (product - exact) @ weight  # what rounding the input changes
    if len(product) > product.shape[1]:  # the same sums, but for a constant, of fewer rows
        q, product = torch.linalg.qr(product)
        others = q.T @ others
    least = scales_for(weight.abs().amax(0))
    best, error = least, torch.full_like(least, torch.inf)
    for step in range(_SCALES):
        scales = least * (1 + step / _SCALES)
        found = (product @ (rounded(weight, scales) - weight) + others).square().sum(0)
        better = found < error
        best, error = torch.where(better, scales, best), torch.where(better, found, error)
    return best


def _moved(weight: torch.Tensor, scales: torch.Tensor, read: Read) -> torch.Tensor:
    """float64 [out]: what rounding adds to the mean output. What it adds to the mean input, which
    is little, is taken from the rows that were drawn."""
    matrix = rounded(weight, scales)
    mean = read.seen.mean.to(weight.device)
    exact, product = read.rows(weight.device)
    shifted = (product - exact).double().mean(0)
    return mean @ (matrix - weight).double() + shifted @ matrix.double()


def _array(tensor: torch.Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return tensor.float().cpu().numpy()
