"""Checks on made-up measurements: the worst place is named, what is no number fails."""

from __future__ import annotations

import math

import pytest

from wan_trt.calibration.gate.checks import Check, make_checks
from wan_trt.calibration.gate.measurement import FrameErrors, LatentError, Measurement
from wan_trt.calibration.gate.thresholds import Thresholds
from wan_trt.calibration.gate.velocities import VelocityError
from wan_trt.engine.request import ExpertName


def velocity(step: int, cosine: float, error: float = 0.01, confusion: float = 0) -> VelocityError:
    return VelocityError(ExpertName.HIGH, 0, step, 900 - step, 0, cosine, error, confusion)


def checked(
    velocities: tuple[VelocityError, ...] = (), frames: tuple[FrameErrors, ...] = ()
) -> dict[str, Check]:
    latents = (LatentError(0, 1.0, 0.1), LatentError(1, 1.0, 0.2))
    fine = (FrameErrors(0, 5, 40.0, 0.99, (0.0, 0.0, 0.0), 1.0),)
    measured = Measurement("b", "0", {}, velocities, latents, frames or fine)
    return {check.name: check for check in make_checks(measured, Thresholds.read())}


def test_the_worst_step_is_named() -> None:
    checks = checked((velocity(0, 0.9999), velocity(1, 0.998), velocity(2, 0.9995)))
    cosine = checks["velocity.cosine.high"]
    assert (cosine.value, cosine.passed) == (0.998, False)
    assert cosine.where == "segment 0, step 1, timestep 899"
    assert "velocity.cosine.low" not in checks
    assert checks["latents.relative_error"].where == "segment 1"


def test_a_step_that_is_no_number_is_the_worst_and_fails() -> None:
    checks = checked((velocity(0, 0.5), velocity(1, math.nan, math.nan), velocity(2, 1.0)))
    for name in ("velocity.cosine.high", "velocity.relative_error.high"):
        assert math.isnan(checks[name].value)
        assert not checks[name].passed


def test_confusion_is_judged_over_all_steps() -> None:
    few = (velocity(0, 1, confusion=0.9), velocity(1, 1, confusion=-0.1))
    assert checked(few)["velocity.confusion.high"].value == pytest.approx(0.4)


def test_drift_counts_in_either_direction_and_any_colour() -> None:
    frames = (
        FrameErrors(0, 5, 40.0, 0.99, (0.2, 0.3, 0.9), 1.0),
        FrameErrors(5, 9, 40.0, 0.99, (0.0, -1.1, 0.9), 1.0),
    )
    drift = checked(frames=frames)["frames.drift"]
    assert (drift.value, drift.where, drift.passed) == (1.1, "frames 5..8, green", False)


@pytest.mark.parametrize(
    ("ratios", "worst", "passed"),
    [
        ((1.05, 0.92), 0.92, True),
        ((0.95, 1.2), 1.2, False),
        ((1.0, 0.0), 0.0, False),
        ((1.0, math.inf), math.inf, False),
    ],
)
def test_motion_fails_on_both_sides(
    ratios: tuple[float, float], worst: float, passed: bool
) -> None:
    frames = tuple(FrameErrors(0, 5, 40.0, 0.99, (0, 0, 0), ratio) for ratio in ratios)
    check = checked(frames=frames)["frames.temporal_ratio"]
    assert (check.value, check.passed) == (worst, passed)


def test_lpips_is_judged_only_where_it_was_measured() -> None:
    assert "frames.lpips" not in checked()
    frames = (FrameErrors(0, 5, 40.0, 0.99, (0, 0, 0), 1.0, lpips=0.2),)
    assert not checked(frames=frames)["frames.lpips"].passed
