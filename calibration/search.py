"""Which linears may be FP8: the sensitivity of each alone, then the largest set within a budget."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wan_trt.calibration.calibrate import Calibrated, CalibrationOptions, calibrated
from wan_trt.calibration.largest_set import Trial, largest_within, order_by_cost
from wan_trt.calibration.recording import Recording
from wan_trt.calibration.velocity_error import Errors, VelocityErrors
from wan_trt.engine.errors import InputError
from wan_trt.engine.job import OnEvent
from wan_trt.engine.request import ExpertName
from wan_trt.export.progress import OnProgress
from wan_trt.export.quantize.scales import ScalesOrigin


@dataclass(frozen=True)
class Found:
    """`order` is that of the trials; its first `count` are FP8. Errors are relative squared ones
    of the velocity, `alone` for each linear and expert; `nbytes` are of its weight at FP8."""

    budget: float
    order: tuple[str, ...]
    count: int
    trials: tuple[Trial, ...]
    alone: Mapping[str, Errors]
    nbytes: Mapping[str, int]
    timesteps: Mapping[str, Sequence[int]]

    @property
    def linears(self) -> tuple[str, ...]:
        return tuple(sorted(self.order[: self.count], key=_natural))


def search_policy(
    checkpoint: Path,
    inputs: Path,
    work: Path,
    options: CalibrationOptions,
    budget: float,
    calls: int,
    on_progress: OnProgress = lambda _: None,
    on_event: OnEvent | None = None,
) -> str:
    """A policy file's text, its evidence in comments. It quantises the largest part of the
    options' policy, by bytes of weights, whose error is within `budget` for each expert, measured
    together on `calls` calls of each. Attention stays high: what it costs is not measured.

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
        return search_calibrated(found, recording, budget, calls)


def search_calibrated(
    calibration: Calibrated, recording: Recording, budget: float, calls: int
) -> str:
    """As `search_policy`, on a calibration whose calls were recorded."""
    scales, origin = calibration.scales, calibration.scales.origin
    spread = recording.spread(origin.boundary, calls)
    errors = VelocityErrors(calibration.graphs, spread, scales)
    linears = sorted(scales.ranges[ExpertName.HIGH], key=_natural)
    sizes = calibration.graphs.weight_sizes(linears)
    alone = errors.alone(linears)
    order = order_by_cost({name: max(e.values()) for name, e in alone.items()}, sizes)
    count, trials = largest_within(
        len(order), lambda n: max(errors.together(order[:n]).values()), budget
    )
    if count == 0:
        raise InputError(
            f"{budget:g} is less than any linear costs",
            expected=f"at least {trials[-1].error:.3g}, for {order[0]}",
            action="allow more, or stay at high precision",
            field="budget",
        )
    timesteps = {expert.value: [call.timestep for call in own] for expert, own in spread.items()}
    return policy_text(Found(budget, order, count, trials, alone, sizes, timesteps), origin)


def policy_text(found: Found, origin: ScalesOrigin) -> str:
    """The policy as TOML that `Policy.parse` reads; evidence in comments, foreign text as JSON."""
    quantised = set(found.linears)
    total, part = (sum(found.nbytes[name] for name in names) for names in (found.order, quantised))
    error = next(trial.error for trial in found.trials if trial.count == found.count)
    lines = [
        f"# Found by `wan-trt calibrate --search --budget {found.budget:g}`: "
        f"{found.count} of {len(found.order)} linears,",
        f"# {part} of {total} weight bytes. Errors are relative squared ones of the velocity.",
        "#",
        f"# error of all together, of the worse expert: {error:.4g}",
        f"# ranges by {origin.method}; measured at timesteps {json.dumps(dict(found.timesteps))}",
        f"# checkpoint {json.dumps(dict(origin.checkpoint))}",
        *(
            f"# LoRA of {expert}: {use.sha256} strength {use.strength:g}"
            for expert, uses in origin.loras.items()
            for use in uses
        ),
        f"# boundary {origin.boundary:g}; {json.dumps(dict(origin.tools))}",
        f"# inputs {json.dumps(dict(origin.inputs))}",
        f"# {json.dumps(dict(origin.sampling))}",
        "#",
        "# trials: the first N of the table below together",
        *(f"#   {trial.count} {trial.error:.4g}" for trial in found.trials),
        "#",
        "# each alone, by error per byte: FP8 or not, error of the high and the low-noise expert",
    ]
    for name in found.order:
        kind = "fp8 " if name in quantised else "high"
        values = " ".join(f"{value:.4g}" for value in found.alone[name].values())
        lines.append(f"#   {kind} {name} {values}")
    lines += ["[[linear]]", "modules = ["]
    lines += [f"    {json.dumps(name)}," for name in found.linears]
    lines += ["]", 'precision = "fp8"', ""]
    return "\n".join(lines)


def _natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """Block 10 after block 9."""
    return tuple((0, int(p)) if p.isdigit() else (1, p) for p in name.split("."))
