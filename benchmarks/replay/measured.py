"""The machine that this runs on, as the simulator knows machines: by measured seconds."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence

from replay.jobs import DRAFT, PREVIEW, make_request
from replay.replay import DoneUnit, Replay
from simulation.machines import Machine
from simulation.traces import Kind, TracedJob, kind_runs
from wan_trt.engine.engine import Engine
from wan_trt.engine.memory.footprint import VideoSize
from wan_trt.engine.scheduling.unit import Stage

TURNS = 2
SEGMENTS = 2


def warm(engine: Engine, turns: int = TURNS) -> list[DoneUnit]:
    """Load all graphs, and let the engine learn what units cost; the units of all turns but the
    first, which pays for what is done once."""
    units: list[DoneUnit] = []
    for turn in range(turns + 1):
        for kind in (PREVIEW, DRAFT):
            found = alone(engine, kind, SEGMENTS, seed=turn)
            units += found if turn else []
    return units


def alone(engine: Engine, kind: Kind, segments: int, seed: int) -> list[DoneUnit]:
    """The units of one job on an idle engine."""
    request = make_request(engine.bundle, kind, segments, seed)
    nowhere = Machine("", "", {})
    runs = kind_runs(kind, segments, nowhere)
    job = TracedJob(kind.name, kind.name, "", 0.0, None, 0.0, runs, ())
    return Replay(engine, [job], {job.job_id: request}).run(deadlines=False).units


def measured_machine(units: Sequence[DoneUnit], base: Machine | None = None) -> Machine:
    """Medians of what units took; what is not among them is the `base` machine's."""
    seconds: dict[tuple[Stage, VideoSize], list[float]] = defaultdict(list)
    for unit in units:
        seconds[unit.stage, unit.size].append(unit.seconds)
    medians = {key: statistics.median(each) for key, each in seconds.items()}
    return Machine("this machine", "fp32", {**(base.pass_s if base else {}), **medians})


def described_costs(machine: Machine) -> dict[str, float]:
    """Milliseconds of a pass by stage and size."""
    return {
        f"{stage.value} {size.width}x{size.height}": round(1000 * seconds, 2)
        for (stage, size), seconds in machine.pass_s.items()
    }
