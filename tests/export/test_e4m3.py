"""E4M3 matrices: to the bit what another implementation of the format gives."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from wan_trt.export.quantize.e4m3 import input_scale, quantise


def _oracle(matrix: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """For columns that have values."""
    scales = np.abs(matrix).max(0) / np.float32(448)
    return (matrix / scales).astype(ml_dtypes.float8_e4m3fn).view(np.uint8), scales


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("shape", [(7, 3), (64, 5000), (3000, 200), (1, 1)])
def test_bytes_and_scales(shape: tuple[int, int], transposed: bool) -> None:
    """Columns of all magnitudes; larger than a block too, and however it lies in memory."""
    random = np.random.default_rng(3)
    matrix = random.standard_normal(shape).astype(np.float32)
    matrix *= np.float32(10.0) ** random.integers(-30, 30, shape[1]).astype(np.float32)
    given = torch.from_numpy(matrix)
    found = quantise(given.t().contiguous().t() if transposed else given)
    values, scales = _oracle(matrix)
    assert found.values.dtype == torch.float8_e4m3fn
    assert found.values.is_contiguous()
    assert np.array_equal(found.values.view(torch.uint8).numpy(), values)
    assert np.array_equal(found.scales.numpy(), scales)
    assert (found.values.float().abs().amax(0) == 448).all()


def test_ties_go_to_even() -> None:
    column = torch.tensor([448.0, 17.0, 19.0, -17.0, 2**-10, 3 * 2**-10, 432.0, 1e-9])
    found = quantise(column[:, None])
    assert found.scales.tolist() == [1.0]
    assert found.values.float().flatten().tolist() == [
        448.0,
        16.0,
        20.0,
        -16.0,
        0.0,
        2 * 2**-9,
        448.0,
        0.0,
    ]


@pytest.mark.parametrize("value", [0.0, 1e-44, 1e-37], ids=str)
def test_a_column_of_nothing_stays_zero(value: float) -> None:
    """Also where the scale would have few digits or none: no NaN comes of it."""
    matrix = torch.ones(4, 3)
    matrix[:, 1] = torch.tensor([value, -value, 0.0, -0.0])
    found = quantise(matrix)
    assert found.scales[1] == 1.0
    assert (found.values.float()[:, 1] == 0).all()
    assert (found.values.float() * found.scales)[:, [0, 2]].eq(1).all()


def test_the_scale_of_an_input() -> None:
    assert input_scale(3.3).shape == ()
    assert input_scale(3.3).item() == np.float32(3.3) / np.float32(448)
