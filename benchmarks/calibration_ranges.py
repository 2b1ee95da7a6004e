"""How the ranges of each expert on its own timesteps differ from one range for all timesteps.

    python benchmarks/calibration_ranges.py CHECKPOINT SAMPLES --out ranges.json

Measures ranges as `wan-trt calibrate` does, and the relative squared error of the velocity with
every candidate linear quantised: with the ranges of the expert, and with the greater of both.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from wan_trt.calibration.calibrate import CalibrationOptions, calibrated
from wan_trt.calibration.ranges import Method, MethodName
from wan_trt.calibration.recording import Recording
from wan_trt.calibration.velocity_error import VelocityErrors
from wan_trt.engine.request import ExpertName
from wan_trt.media.partial_output import write_text

Ranges = Mapping[ExpertName, Mapping[str, float]]


def common(ranges: Ranges) -> Ranges:
    """One range for all timesteps: the greater of the experts'."""
    high, low = ranges[ExpertName.HIGH], ranges[ExpertName.LOW]
    shared = {name: max(high[name], low[name]) for name in high}
    return dict.fromkeys(ExpertName, shared)


def summary(ranges: Ranges) -> dict[str, Any]:
    """By how much the low-noise expert's ranges differ from the high-noise one's."""
    high, low = ranges[ExpertName.HIGH], ranges[ExpertName.LOW]
    ratios = {name: low[name] / high[name] for name in high}
    factors = [max(ratio, 1 / ratio) for ratio in ratios.values()]
    widest = max(ratios, key=lambda name: max(ratios[name], 1 / ratios[name]))
    return {
        "linears": len(ratios),
        "low_over_high": {
            "least": min(ratios.values()),
            "median": median(ratios.values()),
            "greatest": max(ratios.values()),
        },
        "median_factor_apart": median(factors),
        "more_than_a_quarter_apart": sum(factor > 1.25 for factor in factors),
        "widest": widest,
    }


def measure(checkpoint: Path, samples: Path, method: Method, calls: int) -> dict[str, Any]:
    recording = Recording()
    with (
        tempfile.TemporaryDirectory() as work,
        calibrated(
            checkpoint,
            samples,
            Path(work),
            CalibrationOptions(method=method),
            (recording.before_call,),
            lambda _: None,
            None,
        ) as found,
    ):
        scales = found.scales
        spread = recording.spread(scales.origin.boundary, calls)
        errors = {
            name: VelocityErrors(found.denoisers, spread, replace(scales, ranges=ranges)).together(
                list(ranges[ExpertName.HIGH])
            )
            for name, ranges in (("own", scales.ranges), ("common", common(scales.ranges)))
        }
        return {
            "method": str(method),
            "model": scales.origin.model,
            "timesteps": scales.origin.sampling["timesteps"],
            "ranges": summary(scales.ranges),
            "velocity_error": errors,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("samples", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--method", choices=list(MethodName), default=MethodName.MAX)
    parser.add_argument("--calls", type=int, default=8, help="of each expert, for the errors")
    arguments = parser.parse_args()
    method = Method(MethodName(arguments.method))
    result = measure(arguments.checkpoint, arguments.samples, method, arguments.calls)
    write_text(arguments.out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
