"""Fits an FP8 linear's column scales and bias to its matrix and what it has been given."""

from __future__ import annotations

import numpy as np
import torch

from wan_trt.export.modeling.module import Linear
from wan_trt.export.quantize.e4m3 import rounded
from wan_trt.export.quantize.fitted import Fitted


def fit(linear: Linear, scales: torch.Tensor, mean: torch.Tensor) -> Fitted:
    """`scales` of its columns, and the shift of the bias that keeps the mean output when they are
    rounded by them; `mean` float64 [in] is that of its inputs."""
    weight = linear.weight.data
    if linear.bias is None:
        return Fitted(_array(scales))
    moved = mean @ (rounded(weight, scales) - weight).double()
    return Fitted(_array(scales), _array(-moved))


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
