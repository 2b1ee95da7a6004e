"""Which linears may be FP8: the sensitivity of each alone, then the largest set within a budget."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from wan_trt.calibration.calibrate import Calibrated, CalibrationOptions, calibrated
from wan_trt.calibration.largest_set import largest_within, order_by_cost
from wan_trt.calibration.recording import Recording
from wan_trt.calibration.velocity_error import VelocityErrors
from wan_trt.engine.errors import InputError
from wan_trt.engine.reporting import OnEvent
from wan_trt.export.progress import OnProgress
from wan_trt.export.quantize.evidence import Evidence, LinearEvidence, worst
from wan_trt.export.quantize.policy import LinearRule, Policy


def search_policy(
    checkpoint: Path,
    inputs: Path,
    work: Path,
    options: CalibrationOptions,
    budget: float,
    calls: int,
    on_progress: OnProgress = lambda _: None,
    on_event: OnEvent | None = None,
) -> Policy:
    """A policy with its evidence. It quantises the largest part of the options' policy, by bytes
    of weights, whose error is within `budget` for each expert, measured together on `calls` calls
    of each. Attention stays high: what it costs is not measured.

    Raises as `calibrate`, and InputError for a budget that no linear fits.
    """
    if not math.isfinite(budget) or budget <= 0:
        raise InputError(
            f"{budget}", expected="a number above 0", action="change it", field="budget"
        )
    if calls < 1:
        raise InputError(f"{calls}", expected="at least 1", action="change it", field="calls")
    options = replace(options, policy=replace(options.policy, attention=()))
    recording = Recording()
    told = (recording.before_call,)
    with calibrated(checkpoint, inputs, work, options, told, on_progress, on_event) as found:
        spread = recording.spread(found.scales.origin.boundary, calls)
        return search_calibrated(found, VelocityErrors(found.graphs, spread, found.scales), budget)


def search_calibrated(calibration: Calibrated, errors: VelocityErrors, budget: float) -> Policy:
    """As `search_policy`, by the `errors` of calls that were recorded."""
    linears = sorted(calibration.rounded.weights, key=_natural)
    sizes = calibration.graphs.weight_sizes(linears)
    alone = errors.alone(linears)
    order = order_by_cost({name: worst(own.values()) for name, own in alone.items()}, sizes)
    count, trials = largest_within(
        len(order), lambda n: worst(errors.together(order[:n]).values()), budget
    )
    if count == 0:
        raise InputError(
            f"{budget:g} is less than any linear costs",
            expected=f"at least {trials[-1].error:.3g}, for {order[0]}",
            action="allow more, or stay at high precision",
            field="budget",
        )
    evidence = Evidence(
        origin=calibration.scales.origin,
        budget=budget,
        timesteps=errors.timesteps,
        trials=trials,
        linears={
            name: LinearEvidence(sizes[name], {e.value: own for e, own in alone[name].items()})
            for name in order
        },
    )
    chosen = tuple(sorted(order[:count], key=_natural))
    return Policy(f"within {budget:g}", (LinearRule(chosen, "fp8"),), evidence=evidence)


def _natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """Block 10 after block 9."""
    return tuple((0, int(p)) if p.isdigit() else (1, p) for p in name.split("."))
