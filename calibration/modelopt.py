"""The parts of nvidia-modelopt that are used, behind its import, which warns."""

from __future__ import annotations

import math
import warnings
from importlib.metadata import version
from typing import Any

import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it calls what torch.jit has deprecated
    from modelopt.torch.quantization.calib import MseCalibrator
    from modelopt.torch.quantization.config import QuantizerAttributeConfig
    from modelopt.torch.quantization.nn import TensorQuantizer
    from modelopt.torch.quantization.tensor_quant import fp8_eager

VERSION = version("nvidia-modelopt")

_E4M3 = (4, 3)
_SMALLEST = 1 / 16
_STEP = 1 / 128


def make_observer(calibrator: str) -> Any:
    """A quantiser that only looks: "max", or "histogram" of magnitudes."""
    settings = QuantizerAttributeConfig(num_bits=_E4M3, axis=None, calibrator=calibrator)
    observer = TensorQuantizer(settings)
    observer.enable_calib()
    observer.disable_quant()
    return observer


def greatest_magnitude(observer: Any) -> float:
    """What a "max" observer has seen. NaN where it has seen nothing."""
    greatest = observer._calibrator.compute_amax()
    return math.nan if greatest is None else float(greatest)


def histogram(observer: Any) -> tuple[torch.Tensor, float]:
    """Counts (float64) and the width of their bins, of which the first begins at 0.

    ModelOpt's own percentile takes the counts as int32, too few for whole jobs at full size.
    """
    calibrator = observer._calibrator
    counts = calibrator._calib_hist.double().cpu()
    return counts, float(calibrator._calib_bin_edges[-1]) / len(counts)


def quantise_e4m3(tensor: torch.Tensor, greatest: torch.Tensor) -> torch.Tensor:
    """`tensor` rounded to E4M3 at scale `greatest` / 448 and back; `greatest` is a scalar.

    In torch's own float8 on every device: ModelOpt's quantisers would first compile a CUDA kernel.
    """
    rounded: torch.Tensor = fp8_eager(tensor, greatest)
    return rounded


def least_square_range(values: torch.Tensor, counts: torch.Tensor, greatest: float) -> float:
    """The range, between `greatest` / 16 and `greatest`, at which E4M3 changes `values`, each
    there `counts` times, least in the sum of squares."""
    # Its search over a histogram calls E4M3 with arguments that this no longer takes; this class
    # searches over tensors, so the histogram's bins are made one.
    search = MseCalibrator(
        torch.tensor(greatest),
        step_size=_STEP,
        start_multiplier=_SMALLEST,
        stop_multiplier=1.0,
        quant_func=quantise_e4m3,
        error_func=lambda x, rounded: (x - rounded).square() * counts,
    )
    search.collect(values)
    return float(search.compute_amax())
