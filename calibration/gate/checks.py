"""What the thresholds say to a measurement: a check a quantity, each at its worst place (pure)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from wan_trt.calibration.gate.measurement import FrameErrors, Measurement
from wan_trt.calibration.gate.thresholds import Thresholds
from wan_trt.calibration.gate.velocities import VelocityError
from wan_trt.engine.request import ExpertName

COLOURS = ("red", "green", "blue")


@dataclass(frozen=True)
class Check:
    """A quantity's worst `value`, where it is, and its bounds; what is not a number fails."""

    name: str
    where: str
    value: float
    least: float = -math.inf
    most: float = math.inf

    @property
    def passed(self) -> bool:
        return self.least <= self.value <= self.most

    @property
    def bounds(self) -> str:
        """The bounds in words."""
        parts = []
        if self.least > -math.inf:
            parts.append(f"at least {self.least:g}")
        if self.most < math.inf:
            parts.append(f"at most {self.most:g}")
        return ", ".join(parts)


def make_checks(measured: Measurement, thresholds: Thresholds) -> tuple[Check, ...]:
    """All checks that the measurement has numbers for. A run that failed is a check of its own."""
    checks = [*_velocity_checks(measured.velocities, thresholds)]
    if measured.failure is not None:
        return (*checks, Check("run", measured.failure, math.nan, least=0))
    errors = [(_at(x.sample, f"segment {x.segment}"), x.relative_error) for x in measured.latents]
    if errors:
        where, value = _highest(errors)
        most = thresholds.latents.relative_error_max
        checks.append(Check("latents.relative_error", where, value, most=most))
    checks += _frame_checks(measured.frames, thresholds)
    return tuple(checks)


def _velocity_checks(
    velocities: Iterable[VelocityError], thresholds: Thresholds
) -> Iterator[Check]:
    limits = thresholds.velocity
    for expert in ExpertName:
        own = [error for error in velocities if error.expert is expert]
        if not own:
            continue
        where, value = _lowest((_place(error), error.cosine) for error in own)
        yield Check(f"velocity.cosine.{expert}", where, value, least=limits.cosine_min)
        where, value = _highest((_place(error), error.relative_error) for error in own)
        most = limits.relative_error_max
        yield Check(f"velocity.relative_error.{expert}", where, value, most=most)
        shares = [error.confusion for error in own if error.confusion is not None]
        if shares:
            value, most = float(np.mean(shares)), limits.confusion_max
            yield Check(f"velocity.confusion.{expert}", "mean of all steps", value, most=most)


def _frame_checks(frames: Iterable[FrameErrors], thresholds: Thresholds) -> Iterator[Check]:
    limits = thresholds.frames
    named = [(_at(x.sample, f"frames {x.start}..{x.stop - 1}"), x) for x in frames]
    where, value = _lowest((name, x.psnr) for name, x in named)
    yield Check("frames.psnr", where, value, least=limits.psnr_min)
    where, value = _lowest((name, x.ssim) for name, x in named)
    yield Check("frames.ssim", where, value, least=limits.ssim_min)
    where, value = _highest(
        (f"{name}, {colour}", abs(drift))
        for name, x in named
        for colour, drift in zip(COLOURS, x.drift, strict=True)
    )
    yield Check("frames.drift", where, value, most=limits.drift_max)
    where, value = _furthest_ratio((name, x.temporal_ratio) for name, x in named)
    least, most = limits.temporal_ratio_min, limits.temporal_ratio_max
    yield Check("frames.temporal_ratio", where, value, least, most)
    distances = [(name, x.lpips) for name, x in named if x.lpips is not None]
    if distances:
        where, value = _highest(distances)
        yield Check("frames.lpips", where, value, most=limits.lpips_max)


def _place(error: VelocityError) -> str:
    branch = ", unconditional" if error.branch else ""
    step = f"segment {error.segment}, step {error.step}, timestep {error.timestep}{branch}"
    return _at(error.sample, step)


def _at(sample: str, place: str) -> str:
    return f"{sample}, {place}" if sample else place


def _highest(values: Iterable[tuple[str, float]]) -> tuple[str, float]:
    """What is not a number is worst."""
    return max(values, key=lambda pair: math.inf if math.isnan(pair[1]) else pair[1])


def _lowest(values: Iterable[tuple[str, float]]) -> tuple[str, float]:
    return min(values, key=lambda pair: -math.inf if math.isnan(pair[1]) else pair[1])


def _furthest_ratio(values: Iterable[tuple[str, float]]) -> tuple[str, float]:
    """The ratio that is furthest from 1 as a factor: 0.5 is as far as 2."""

    def distance(pair: tuple[str, float]) -> float:
        usable = pair[1] > 0 and math.isfinite(pair[1])
        return abs(math.log(pair[1])) if usable else math.inf

    return max(values, key=distance)
