"""What admission's promises are worth where some units take much longer than their median."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from simulation.machines import Machine
from simulation.simulate import Simulation
from simulation.traces import TracedJob, Traffic, make_trace
from wan_trt.engine.scheduling.pace import Pace
from wan_trt.engine.scheduling.preference import Policy

SPREADS = ((0.0, 1.0), (0.15, 2.0), (0.05, 5.0))
"""How many units take how many times as long."""


@dataclass(frozen=True)
class Uneven:
    """Jobs end when their time is over. Shares are of all jobs with a deadline: `late` were let in
    and ended unfinished, `refused` were not let in, `met` were done in time. `margin` is whether
    admission learned one."""

    policy: str
    slow_units: float
    times: float
    margin: bool
    late: float
    refused: float
    met: float


def uneven_work(
    machine: Machine, traffic: Traffic, load: float, jobs: int, seeds: int
) -> list[Uneven]:
    """Every policy with admission, without a margin and with one. `load` is that of the medians."""
    return [
        _of(machine, traces, policy, slow_units, times, margin)
        for slow_units, times in SPREADS
        for traces in [
            [
                _slowed(make_trace(traffic, machine, load, jobs, seed), slow_units, times, seed)
                for seed in range(seeds)
            ]
        ]
        for policy in Policy
        for margin in (False, True)
    ]


def _slowed(
    trace: Sequence[TracedJob], slow_units: float, times: float, seed: int
) -> list[TracedJob]:
    draw = random.Random(f"slow units {seed}").random
    return [
        replace(
            job,
            factors=tuple(
                factor * (times if draw() < slow_units else 1.0) for factor in job.factors
            ),
        )
        for job in trace
    ]


def _of(
    machine: Machine,
    traces: Sequence[Sequence[TracedJob]],
    policy: Policy,
    slow_units: float,
    times: float,
    margin: bool,
) -> Uneven:
    late = refused = 0
    for trace in traces:
        pace = Pace() if margin else Pace(most=1.0)
        outcome = Simulation(
            *(machine, trace, policy, True), ends_late=True, costs_known=True, pace=pace
        ).run()
        late, refused = late + len(outcome.late), refused + len(outcome.refused)
    hurried = sum(job.deadline_s is not None for trace in traces for job in trace)
    return Uneven(
        policy=policy.value,
        slow_units=slow_units,
        times=times,
        margin=margin,
        late=late / hurried,
        refused=refused / hurried,
        met=1 - (late + refused) / hurried,
    )


def uneven_table(rows: Sequence[Uneven]) -> str:
    lines = [
        "| slow units | policy | margin | late after admission | refused | met |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        slow = f"{row.slow_units:.0%}, {row.times:g} times" if row.slow_units else "none"
        lines.append(
            f"| {slow} | {row.policy} | {'yes' if row.margin else ''} "
            f"| {row.late:.1%} | {row.refused:.1%} | {row.met:.1%} |"
        )
    return "\n".join(lines)
