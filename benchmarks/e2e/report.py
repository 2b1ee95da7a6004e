"""All repetitions of both sides as one table and one JSON document."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from e2e.measurement import Measurement, Stage
from numpy.typing import NDArray

OTHER = "rest"
Runs = Sequence[Measurement]


def psnr_db(frames: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Of frames in [-1, 1]."""
    error = float(np.mean((frames.astype(np.float64) - reference) ** 2))
    return float("inf") if error == 0 else 10 * float(np.log10(4 / error))


def summary(runs: Runs) -> dict[str, Any]:
    """Medians over the runs, the range of the total, and the totals themselves."""
    totals = [run.total_s for run in runs]
    rest = [run.total_s - sum(run.stages_s.values()) for run in runs]
    stages = {
        stage.value: statistics.median(run.stages_s.get(stage.value, 0.0) for run in runs)
        for stage in Stage
    }
    return {
        "total_s": statistics.median(totals),
        "least_s": min(totals),
        "most_s": max(totals),
        "totals_s": totals,
        "processor_s": statistics.median(run.processor_s for run in runs),
        "stages_s": {**stages, OTHER: statistics.median(rest)},
        "loaded_nbytes": statistics.median(run.loaded_nbytes for run in runs),
        "peak_nbytes": max(run.peak_nbytes for run in runs),
    }


def table(bundle: Mapping[str, Any], diffusers: Mapping[str, Any]) -> str:
    """Markdown, a stage a line: seconds of both sides and their ratio."""
    lines = ["| stage | diffusers | bundle | ratio |", "|---|---|---|---|"]
    for stage, theirs in diffusers["stages_s"].items():
        ours = bundle["stages_s"][stage]
        if max(theirs, ours) >= 0.005:
            lines.append(_line(stage, f"{theirs:.2f} s", f"{ours:.2f} s", ours, theirs))
    for label, key, unit, scale in (
        ("**total**", "total_s", "s", 1.0),
        ("processor time", "processor_s", "s", 1.0),
        ("peak memory", "peak_nbytes", "MB", 1e-6),
    ):
        theirs, ours = diffusers[key] * scale, bundle[key] * scale
        digits = 0 if unit == "MB" else 2
        cells = (f"{value:.{digits}f} {unit}" for value in (theirs, ours))
        lines.append(_line(label, *cells, ours, theirs))
    spread = [f"{side['least_s']:.1f} to {side['most_s']:.1f} s" for side in (diffusers, bundle)]
    lines.append(f"| range of the total | {spread[0]} | {spread[1]} | |")
    return "\n".join(lines)


def _line(label: str, theirs: str, ours: str, value: float, reference: float) -> str:
    ratio = f"{value / reference:.2f}" if reference >= 0.005 else ""
    return f"| {label} | {theirs} | {ours} | {ratio} |"


def share_table(case: Mapping[str, float], real: Mapping[str, float]) -> str:
    """Markdown: what share of the arithmetic each stage is."""
    lines = ["| stage | this case | Wan2.2-Animate-14B at 832x480 |", "|---|---|---|"]
    lines += [
        f"| {stage} | {100 * case[stage]:.2f} % | {100 * real[stage]:.2f} % |" for stage in case
    ]
    return "\n".join(lines)
