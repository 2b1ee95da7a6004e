"""Which plots the report has, and what is in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from wan_trt.calibration.gate.checks import COLOURS
from wan_trt.calibration.gate.measurement import FrameErrors
from wan_trt.calibration.gate.thresholds import Thresholds
from wan_trt.calibration.gate.velocities import VelocityError
from wan_trt.calibration.report.plots import Axis, Bar, Series, bar_plot, line_plot
from wan_trt.calibration.report.sensitivity import Sensitivity
from wan_trt.engine.request import ExpertName

_EXPERT_COLOURS = {ExpertName.HIGH: "#b5651d", ExpertName.LOW: "#2a6fb0"}
_COLOURS = dict(zip(COLOURS, ("#d23b3b", "#2f9e44", "#2f5fd0"), strict=True))
_TIMESTEPS = Axis("timestep", falling=True)
_LINE = "#3d4754"
_SHOWN_LINEARS, _LINES = 24, ("#7b3fb0", "#d98200", "#1f8a70", "#c2417c", "#2f5fd0", "#8a6d3b")
_PRECISIONS = {"FP8 in this bundle": "#6b7fd7", "high precision": "#a3abb5"}


def velocity_plots(velocities: Sequence[VelocityError], thresholds: Thresholds) -> list[str]:
    """Error over timesteps, a line for each expert."""
    limits = thresholds.velocity
    return [
        _over_timesteps(
            "Relative error of the velocity",
            "||candidate - reference|| / ||reference||",
            velocities,
            lambda error: error.relative_error,
            limits.relative_error_max,
        ),
        _over_timesteps(
            "Angle of the velocity",
            "1 - cosine",
            velocities,
            lambda error: 1 - error.cosine,
            1 - limits.cosine_min,
        ),
    ]


def frame_plots(frames: Sequence[FrameErrors], thresholds: Thresholds) -> list[str]:
    """Drift, PSNR, SSIM and motion over the segments of a job."""
    limits = thresholds.frames
    axis = Axis("frames of the segment", [f"{x.start}..{x.stop - 1}" for x in frames])
    drift = [
        Series(name, _COLOURS[name], list(enumerate(x.drift[channel] for x in frames)))
        for channel, name in enumerate(COLOURS)
    ]

    def single(value: Callable[[FrameErrors], float]) -> list[Series]:
        return [Series("candidate", _LINE, [(i, value(x)) for i, x in enumerate(frames)])]

    bounds = (-limits.drift_max, limits.drift_max)
    ratios = (limits.temporal_ratio_min, limits.temporal_ratio_max)
    plots = [
        line_plot("Drift of the mean colour", axis, "in 1/255", drift, bounds),
        line_plot("PSNR", axis, "dB", single(lambda x: x.psnr), [limits.psnr_min]),
        line_plot("SSIM", axis, "1 is the same", single(lambda x: x.ssim), [limits.ssim_min]),
        line_plot("Motion", axis, "of the reference's", single(lambda x: x.temporal_ratio), ratios),
    ]
    if frames and frames[0].lpips is not None:
        distances = single(lambda x: x.lpips if x.lpips is not None else float("nan"))
        plots.append(line_plot("LPIPS", axis, "0 is the same", distances, [limits.lpips_max]))
    return plots


def sensitivity_plots(sensitivity: Sensitivity) -> list[str]:
    """The most sensitive linears: a bar each, and for the first of them a line over timesteps."""
    most = sensitivity.most(_SHOWN_LINEARS)
    fp8, high = _PRECISIONS
    bars = [Bar(x, value, fp8 if x in sensitivity.fp8 else high) for x, value in most.items()]
    lines = [
        Series(linear, colour, sensitivity.over_timesteps(linear))
        for linear, colour in zip(most, _LINES, strict=False)
    ]
    label = "||change|| / ||velocity||"
    return [
        bar_plot("Error with one linear in FP8", label, bars, _PRECISIONS),
        line_plot("The first of them over timesteps", _TIMESTEPS, label, lines, zero=True),
    ]


def _over_timesteps(
    title: str,
    label: str,
    velocities: Sequence[VelocityError],
    value: Callable[[VelocityError], float],
    limit: float,
) -> str:
    series = []
    for expert, colour in _EXPERT_COLOURS.items():
        values: dict[int, list[float]] = {}
        for error in velocities:
            if error.expert is expert:
                values.setdefault(error.timestep, []).append(value(error))
        worst = [(float(timestep), max(found)) for timestep, found in values.items()]
        mean = [(float(timestep), float(np.mean(found))) for timestep, found in values.items()]
        if values:
            series.append(Series(f"{expert}", colour, worst))
            series.append(Series(f"{expert}, mean", colour, mean, dashed=True))
    return line_plot(title, _TIMESTEPS, label, series, [limit], zero=True)
