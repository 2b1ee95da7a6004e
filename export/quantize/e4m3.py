"""E4M3 with scales: how a float32 matrix becomes bytes, and a range a scale.

A value x is stored as the E4M3 number next to x / scale (to nearest, ties to even); 448 is the
greatest there is.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from wan_trt.engine.calibration_record import E4M3_MAX

# Below it float32 has fewer digits, and a quotient could exceed 448 by far.
LEAST_SCALE = torch.finfo(torch.float32).tiny
_BLOCK_NBYTES = 1 << 20  # stays in a core's cache


@dataclass(frozen=True, eq=False)
class E4M3Matrix:
    """`values` float8_e4m3fn [in, out], contiguous; `scales` float32 [out], > 0. The matrix is
    values * scales."""

    values: torch.Tensor
    scales: torch.Tensor


def quantise(matrix: torch.Tensor, scales: torch.Tensor | None = None) -> E4M3Matrix:
    """A finite float32 matrix [in, out], whose columns get a scale each: `scales` float32 [out], or
    else `scales_for` their greatest magnitudes. What is beyond 448 of a column's scale saturates.
    """
    rows = matrix.t()  # as the checkpoint has it: an output's weights lie side by side
    values = torch.empty(rows.shape, dtype=torch.float8_e4m3fn)
    used = torch.empty(len(rows))
    step = max(1, _BLOCK_NBYTES // max(1, 4 * rows.shape[1]))
    for first in range(0, len(rows), step):
        block = slice(first, first + step)
        scale = scales_for(rows[block].abs().amax(1)) if scales is None else scales[block]
        used[block] = scale
        quotient = rows[block] / scale[:, None]
        # Beyond 448 the conversion has NaN.
        values[block] = quotient if scales is None else quotient.clamp_(-E4M3_MAX, E4M3_MAX)
    turned = values.view(torch.uint8).t().contiguous().view(torch.float8_e4m3fn)
    return E4M3Matrix(turned, used)


def rounded(values: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """float32 `values` as E4M3 with these scales holds them; what is beyond 448 saturates."""
    narrow = (values / scales).clamp_(-E4M3_MAX, E4M3_MAX).to(torch.float8_e4m3fn)
    return narrow.float() * scales


def scales_for(ranges: torch.Tensor) -> torch.Tensor:
    """float32: what maps these magnitudes to 448.

    Of 0 it is 1, which keeps a column of zeros; and so it is where it would be below float32's
    least normal number, 1.2e-38: that column becomes zero.
    """
    scales = ranges / E4M3_MAX
    return torch.where(scales < LEAST_SCALE, 1.0, scales)


def input_scale(magnitude: float) -> torch.Tensor:
    """float32 []: the scale of an input of this range."""
    return torch.tensor(magnitude, dtype=torch.float32) / E4M3_MAX
