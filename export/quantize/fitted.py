"""What calibration found for one FP8 linear beside the range of its input, if that has one.

Two corrections that cost nothing when the model runs. A column's scale may be up to twice the
least one that holds it: E4M3's steps double from one power of two to the next, so where the
column's values fall among them changes the error. And rounding a matrix moves a linear's mean
output by mean(x) @ (rounded - exact), the same at every token, which the bias takes back (bias
correction: Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias
Correction", section 4.2).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.errors import InputError


@dataclass(frozen=True, eq=False)
class Fitted:
    """`column_scales` float32 [out], normal and > 0: by output channel, what E4M3 numbers are
    multiplied by; `bias_shift` float32 [out] is added to the bias, None where there is none.
    Raises InputError for other arrays."""

    column_scales: NDArray[np.float32]
    bias_shift: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        shift = self.bias_shift
        given = [self.column_scales] + ([] if shift is None else [shift])
        if any(array.dtype != np.float32 or array.ndim != 1 for array in given):
            raise _error("not a row of float32")
        if any(len(array) != len(self.column_scales) for array in given):
            raise _error(f"{len(self.column_scales)} columns and a bias of {len(given[-1])}")
        if not all(np.isfinite(array).all() for array in given):
            raise _error("NaN or infinity")
        if (self.column_scales < np.finfo(np.float32).tiny).any():
            raise _error("a scale that is 0, negative or subnormal")

    @property
    def columns_digest(self) -> str:
        """sha256 of the column scales: the name of the file that a bundle has them in."""
        return _digest(self.column_scales)

    @property
    def shift_digest(self) -> str | None:
        """sha256 of the bias shift."""
        return None if self.bias_shift is None else _digest(self.bias_shift)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fitted) and self._digests == other._digests

    def __hash__(self) -> int:
        return hash(self._digests)

    @property
    def _digests(self) -> tuple[str, str | None]:
        return self.columns_digest, self.shift_digest


def _digest(array: NDArray[np.float32]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def _error(given: str) -> InputError:
    return InputError(
        given,
        expected="a finite number > 0 for each column, and one for its bias",
        action="calibrate again",
        field="scales",
    )
