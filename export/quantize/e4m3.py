"""E4M3 with scales: how a float32 matrix becomes bytes, and a range a scale.

A value x is stored as the E4M3 number next to x / scale (to nearest, ties to even); 448 is the
greatest there is.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from wan_trt.engine.input_scales import E4M3_MAX

# Below it float32 has fewer digits, and a quotient could exceed 448 by far.
_LEAST_SCALE = torch.finfo(torch.float32).tiny
_BLOCK_NBYTES = 1 << 20  # stays in a core's cache


@dataclass(frozen=True, eq=False)
class E4M3Matrix:
    """`values` float8_e4m3fn [in, out], contiguous; `scales` float32 [out], > 0. The matrix is
    values * scales."""

    values: torch.Tensor
    scales: torch.Tensor


def quantise(matrix: torch.Tensor, ranges: torch.Tensor | None = None) -> E4M3Matrix:
    """A finite float32 matrix [in, out], whose columns get a scale each: `ranges` float32 [out],
    or else the greatest magnitude, / 448. What is greater than a column's range saturates.

    A column of zeros has scale 1 and stays zero; so does one whose scale would be below float32's
    least normal number, 1.2e-38.
    """
    rows = matrix.t()  # as the checkpoint has it: an output's weights lie side by side
    values = torch.empty(rows.shape, dtype=torch.float8_e4m3fn)
    scales = torch.empty(len(rows))
    step = max(1, _BLOCK_NBYTES // max(1, 4 * rows.shape[1]))
    for first in range(0, len(rows), step):
        block = slice(first, first + step)
        greatest = rows[block].abs().amax(1) if ranges is None else ranges[block]
        scale = greatest / E4M3_MAX
        scale[scale < _LEAST_SCALE] = 1.0
        scales[block] = scale
        quotient = rows[block] / scale[:, None]
        # Beyond 448 the conversion has NaN.
        values[block] = quotient if ranges is None else quotient.clamp_(-E4M3_MAX, E4M3_MAX)
    turned = values.view(torch.uint8).t().contiguous().view(torch.float8_e4m3fn)
    return E4M3Matrix(turned, scales)


def input_scale(magnitude: float) -> torch.Tensor:
    """float32 []: the scale of an input of this range."""
    return torch.tensor(magnitude, dtype=torch.float32) / E4M3_MAX
