"""How the ranges of each expert on its own timesteps differ from one range for all timesteps.

    python benchmarks/calibration_ranges.py CHECKPOINT SAMPLES [CHECKPOINT SAMPLES ..] --out FILE

Measures ranges by each method as `wan-trt calibrate --no-fit` does, and the relative squared error
of the velocity with every candidate linear quantised: with the ranges of the expert, and with the
greater of both. What is fitted depends on the ranges, and would blur the comparison.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from e2e.machine import describe_machine
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
        "inputs": len(ratios),
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
            CalibrationOptions(method=method, fit=False),
            (recording.before_call,),
            lambda _: None,
            None,
        ) as found,
    ):
        scales = found.scales
        spread = recording.spread(scales.origin.boundary, calls)
        errors = {
            name: VelocityErrors(found.graphs, spread, replace(scales, ranges=ranges)).together(
                found.rounded.weights
            )
            for name, ranges in (("own", scales.ranges), ("common", common(scales.ranges)))
        }
        return {
            "method": str(method),
            "model": scales.origin.model,
            "timesteps": scales.origin.sampling["timesteps"],
            "ranges": summary(scales.ranges),
            "velocity_error": {
                name: {expert.value: error.total for expert, error in own.items()}
                for name, own in errors.items()
            },
        }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument(
        "models", metavar="PATH", type=Path, nargs="+", help="CHECKPOINT SAMPLES, as pairs"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--calls", type=int, default=8, help="of each expert, for the errors")
    options = parser.parse_args(arguments)
    if len(options.models) % 2:
        parser.error("CHECKPOINT and SAMPLES come in pairs")
    machine = describe_machine(1, ("torch", "nvidia-modelopt", "onnxruntime", "numpy"))
    runs = []
    for checkpoint, samples in zip(options.models[::2], options.models[1::2], strict=True):
        for name in MethodName:
            runs.append(measure(checkpoint, samples, Method(name), options.calls))
            print(row(runs[-1]), flush=True)
    write_text(options.out, json.dumps({"machine": machine, "runs": runs}, indent=1) + "\n")
    return 0


def row(run: Mapping[str, Any]) -> str:
    """A line of the table in docs/benchmarks.md, errors times 1000."""
    ratio, errors = run["ranges"]["low_over_high"], run["velocity_error"]
    cells = [run["model"], run["method"], f"{ratio['least']:.2f} to {ratio['greatest']:.2f}"]
    cells.append(f"{ratio['median']:.2f}")
    for expert in ExpertName:
        own, shared = (1000 * errors[name][expert.value] for name in ("own", "common"))
        cells.append(f"{own:.3f} / {shared:.3f}")
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
