"""Fits an FP8 linear's column scales and bias to its matrix and what it has been given."""

from __future__ import annotations

import numpy as np
import torch

from wan_trt.calibration.modelopt import quantise_e4m3
from wan_trt.export.modeling.module import Linear
from wan_trt.export.quantize.fitted import Fitted


def fit(linear: Linear, ranges: torch.Tensor, mean: torch.Tensor) -> Fitted:
    """`ranges` of its columns, and the shift of the bias that keeps the mean output when they are
    rounded by them; `mean` float64 [in] is that of its inputs."""
    weight = linear.weight.data
    if linear.bias is None:
        return Fitted(_array(ranges))
    moved = mean @ (rounded(weight, ranges) - weight).double()
    return Fitted(_array(ranges), _array(-moved))


def rounded(weight: torch.Tensor, ranges: torch.Tensor) -> torch.Tensor:
    """A matrix [in, out] rounded to E4M3 and back, each output channel by its range."""
    # A channel of zeros stays one at any scale.
    return quantise_e4m3(weight, torch.where(ranges > 0, ranges, 1.0)[None])


class MeanObserver:
    """The mean of a tensor [.., channels] over all but its channels and over all calls."""

    def __init__(self) -> None:
        self._sum: torch.Tensor | None = None
        self._count = 0

    def see(self, tensor: torch.Tensor) -> None:
        """Leaves the tensor as it is."""
        rows = tensor.detach().reshape(-1, tensor.shape[-1])
        total = rows.sum(0, dtype=torch.float64)
        self._sum = total if self._sum is None else self._sum + total
        self._count += len(rows)

    def mean(self) -> torch.Tensor:
        """float64 [channels]. It has seen something."""
        assert self._sum is not None, "ranges are asked for first"
        return self._sum / self._count


def _array(tensor: torch.Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return tensor.float().cpu().numpy()
