"""Who wants what, when, and by when: drawn from a seed, the same for every policy."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from simulation.machines import LARGE, SMALL, Machine
from wan_trt.engine.memory.footprint import VideoSize
from wan_trt.engine.request import SolverName
from wan_trt.engine.schedule import expert_for, make_schedule
from wan_trt.engine.scheduling.work import Run, job_runs

BOUNDARY = 0.9
SHIFT = 5.0
NOISE = 0.02
"""Relative standard deviation of a unit's time."""

OWNERS = {"studio": 0.55, "agency": 0.25, "artist": 0.15, "student": 0.05}
"""By their share of jobs."""

PATIENCE = (2.0, 6.0)
"""A deadline is a multiple of the job's own work between these, whatever the kind of job."""

WITHOUT_DEADLINE = 0.2
BURST, BURST_SPREAD = 8, 0.05
"""Jobs of a burst on average, and the time between them by that between jobs at large."""


@dataclass(frozen=True)
class Kind:
    """`share` of the jobs; a job has 1 to `segments` segments of 77 frames."""

    name: str
    share: float
    size: VideoSize
    steps: int
    segments: int


PREVIEW = Kind("preview", 0.50, SMALL, 4, 1)
DRAFT = Kind("draft", 0.15, LARGE, 4, 2)
SHOT = Kind("shot", 0.20, SMALL, 20, 4)
FEATURE = Kind("feature", 0.15, LARGE, 20, 4)


@dataclass(frozen=True)
class Traffic:
    """`bursty` jobs come in bursts, else independently (Poisson)."""

    name: str
    kinds: Sequence[Kind]
    bursty: bool = False


MIXED = Traffic("mixed", (PREVIEW, DRAFT, SHOT, FEATURE))
TRAFFICS = (
    MIXED,
    Traffic("mixed, in bursts", (PREVIEW, DRAFT, SHOT, FEATURE), bursty=True),
    Traffic("832x480 alone", (PREVIEW, SHOT)),
    Traffic("1280x720 alone", (DRAFT, FEATURE)),
)


@dataclass(frozen=True)
class TracedJob:
    """`own_s` is its work on an idle machine, without loads; `factors` how much longer or shorter
    each unit takes than on average."""

    job_id: str
    kind: str
    owner: str
    arrival_s: float
    deadline_s: float | None
    own_s: float
    runs: tuple[Run, ...]
    factors: tuple[float, ...]


def make_trace(
    traffic: Traffic, machine: Machine, load: float, jobs: int, seed: int
) -> list[TracedJob]:
    """`load` is the share of the time that the machine would be busy, loads of experts apart."""
    rng = random.Random(f"{traffic.name} {seed}")
    mean_s = _mean_own_s(traffic, machine)
    arrivals = _arrivals(rng, mean_s / load, traffic.bursty)
    trace = []
    for number in range(jobs):
        kind = rng.choices(traffic.kinds, [kind.share for kind in traffic.kinds])[0]
        runs = kind_runs(kind, rng.randint(1, kind.segments), machine)
        own_s = _own_s(runs, machine)
        arrival_s = next(arrivals)
        patience = rng.uniform(*PATIENCE)
        hurried = rng.random() >= WITHOUT_DEADLINE
        trace.append(
            TracedJob(
                job_id=f"{kind.name}-{number}",
                kind=kind.name,
                owner=rng.choices(list(OWNERS), list(OWNERS.values()))[0],
                arrival_s=arrival_s,
                deadline_s=arrival_s + patience * own_s if hurried else None,
                own_s=own_s,
                runs=runs,
                factors=tuple(
                    max(0.5, rng.gauss(1, NOISE)) for run in runs for _ in range(run.units)
                ),
            )
        )
    return trace


def kind_runs(kind: Kind, segments: int, machine: Machine) -> tuple[Run, ...]:
    schedule = make_schedule(SolverName.UNIPC, kind.steps, SHIFT)
    steps = [(expert_for(timestep, BOUNDARY), 1) for timestep in schedule.timesteps]
    return job_runs(segments, steps, lambda stage, expert: machine.key(kind.size, stage, expert))


def _own_s(runs: Sequence[Run], machine: Machine) -> float:
    return sum(machine.seconds(run.key) * run.units * run.passes for run in runs)


def _mean_own_s(traffic: Traffic, machine: Machine) -> float:
    shares = sum(kind.share for kind in traffic.kinds)
    return sum(
        kind.share / shares * _own_s(kind_runs(kind, 1, machine), machine) * (kind.segments + 1) / 2
        for kind in traffic.kinds
    )


def _arrivals(rng: random.Random, mean_s: float, bursty: bool) -> Iterator[float]:
    """`mean_s` between two jobs. A burst's length is geometric; what its jobs save of the time
    between them lies between bursts."""
    now = 0.0
    while True:
        if not bursty:
            now += rng.expovariate(1 / mean_s)
        elif rng.random() < 1 / BURST:
            now += rng.expovariate(1 / (mean_s * (BURST - (BURST - 1) * BURST_SPREAD)))
        else:
            now += rng.expovariate(1 / (mean_s * BURST_SPREAD))
        yield now
