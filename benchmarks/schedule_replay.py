"""A small trace on the real engine under each policy, and what the simulator makes of it.

    python benchmarks/schedule_replay.py     # and benchmarks/results/schedule_replay.json

Real jobs on a small made-up bundle, on the processor: jobs of the simulator's kinds, with arrivals
and deadlines by costs that are measured just before each trace. All policies take turns at each
trace, so that a machine that is busy with other work is so for all. Then: the first frame of a
short job that arrives while a long one runs. docs/scheduling.md says what was found.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from e2e.machine import describe_machine
from replay.first_frame import FirstFrame, first_frames
from replay.jobs import TINY_MIXED, trace_requests
from replay.measured import described_costs, measured_machine, warm
from replay.replay import Replay, Replayed
from replay.report import Row, first_frame_table, replay_table
from simulation.figures import figures
from simulation.machines import Machine
from simulation.simulate import Outcome, Simulation
from simulation.traces import TracedJob, make_trace
from wan_trt.engine.bundle import Bundle
from wan_trt.engine.dispatch import SchedulingOptions
from wan_trt.engine.engine import Engine
from wan_trt.engine.host_backend import HostBackend
from wan_trt.engine.lanes import TOGETHER
from wan_trt.engine.scheduling.preference import Policy

RESULTS = Path(__file__).resolve().parent / "results" / "schedule_replay.json"
LOAD = 1.2
"""More work comes than can be done, for a while: a trace is short, and begins on an idle engine."""

FIRST_FRAME_POLICIES = (Policy.FIFO, Policy.SHORTEST, Policy.DEADLINE)


@dataclass(frozen=True)
class Mode:
    """`ends_late`: the engine is told of deadlines, and ends jobs that are late."""

    policy: Policy
    admission: bool = False
    ends_late: bool = True


TO_THE_END = Mode(Policy.FIFO, ends_late=False)
"""Nobody is ended early: what the latencies of all others are compared with."""

MODES = (TO_THE_END, *(Mode(policy, admission) for admission in (False, True) for policy in Policy))


@dataclass(frozen=True)
class Turn:
    """A mode's outcome of a trace on the engine, and what the simulator makes of it: with the costs
    before, and with those of the replay. `fifo_in_hindsight` is TO_THE_END with the latter.
    `took_s` is the time of all units, `foretold_s` by the costs before."""

    engine: Outcome
    foretold: Outcome
    in_hindsight: Outcome
    fifo_in_hindsight: Outcome
    took_s: float
    foretold_s: float


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--jobs", type=int, default=18, help="of a trace, 10 or more (%(default)s)")
    parser.add_argument("--traces", type=int, default=2, help="how many (%(default)s)")
    parser.add_argument("--bundle", type=Path, help="of Animate (default: a small made-up one)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the JSON file to write")
    options = parser.parse_args(arguments)
    if options.jobs < 10:
        parser.error("--jobs: 10 or more, so that one of them has no deadline and surely ends")
    machine = describe_machine(1, ("onnxruntime", "numpy"))
    with tempfile.TemporaryDirectory(prefix="schedule-replay-") as folder, ExitStack() as stack:
        bundle = Bundle.open(options.bundle or small_bundle(Path(folder)))
        began_s = time.monotonic()
        engines = {
            (policy, admission): stack.enter_context(
                Engine(
                    bundle,
                    backend=HostBackend(threads=1, lanes=TOGETHER),
                    scheduling=SchedulingOptions(policy, admission),
                )
            )
            for admission in (False, True)
            for policy in Policy
        }
        for engine in engines.values():
            warm(engine)
        first = [
            frame
            for policy in FIRST_FRAME_POLICIES
            for frame in first_frames(engines[policy, False], policy.value)
        ]
        print(f"{first_frame_table(first)}\n")
        rounds = [replay_round(engines, options.jobs, seed) for seed in range(options.traces)]
        seconds = time.monotonic() - began_s
    rows = _rows(rounds)
    differing = sorted({name for each in rounds for name in each.differing})
    compared = sum(each.compared for each in rounds)
    print(replay_table(rows))
    print(f"\n{compared} results compared with the same job alone, {len(differing)} differ")
    result = {
        "machine": machine,
        "seconds": round(seconds, 1),
        "jobs": options.jobs,
        "load": LOAD,
        "costs_ms": [described_costs(each.machine) for each in rounds],
        "results_compared": compared,
        "results_that_differ": differing,
        "policies": [asdict(row) for row in rows],
        "first_frames": [_described(frame) for frame in first],
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    return 1 if differing else 0


@dataclass(frozen=True)
class Round:
    """One trace under all modes."""

    machine: Machine
    trace: list[TracedJob]
    turns: dict[Mode, Turn]
    compared: int
    differing: list[str]


def replay_round(engines: dict[tuple[Policy, bool], Engine], jobs: int, seed: int) -> Round:
    """Measure, make the trace, do each job alone, and replay it under each mode."""
    plain = engines[Policy.FIFO, False]
    machine = measured_machine(warm(plain))
    trace = make_trace(TINY_MIXED, machine, LOAD, jobs, seed)
    requests = trace_requests(plain.bundle, trace)
    expected = {
        job.job_id: Replay(plain, [replace(job, arrival_s=0.0)], requests).run(False).digests
        for job in trace
    }
    turns, compared, differing = {}, 0, []
    for mode in MODES:
        engine = engines[mode.policy, mode.admission]
        replayed = Replay(engine, trace, requests).run(mode.ends_late)
        turns[mode] = _beside_the_simulator(mode, machine, trace, replayed)
        compared += len(replayed.digests)
        for job_id, digest in replayed.digests.items():
            if expected[job_id] != {job_id: digest}:
                differing.append(f"{mode.policy.value}: {job_id} of trace {seed}")
    return Round(machine, trace, turns, compared, differing)


def _beside_the_simulator(
    mode: Mode, machine: Machine, trace: list[TracedJob], replayed: Replayed
) -> Turn:
    seen = measured_machine(replayed.units, machine)
    return Turn(
        engine=replayed.outcome,
        foretold=_simulate(mode, machine, trace),
        in_hindsight=_simulate(mode, seen, trace),
        fifo_in_hindsight=_simulate(TO_THE_END, seen, trace),
        took_s=sum(unit.seconds for unit in replayed.units),
        foretold_s=sum(machine.pass_s[unit.stage, unit.size] for unit in replayed.units),
    )


def _simulate(mode: Mode, machine: Machine, trace: list[TracedJob]) -> Outcome:
    policy, admission = mode.policy, mode.admission
    return Simulation(
        machine, trace, policy, admission, ends_late=mode.ends_late, costs_known=True
    ).run()


def _rows(rounds: Sequence[Round]) -> list[Row]:
    traces = [each.trace for each in rounds]
    fifo = [each.turns[TO_THE_END] for each in rounds]
    rows = []
    for mode in MODES:
        turns = [each.turns[mode] for each in rounds]
        rows.append(
            Row(
                policy=mode.policy.value,
                admission=mode.admission,
                ends_late=mode.ends_late,
                jobs=sum(len(trace) for trace in traces),
                late=sum(len(turn.engine.late) for turn in turns),
                refused=sum(len(turn.engine.refused) for turn in turns),
                slower=sum(turn.took_s for turn in turns) / sum(turn.foretold_s for turn in turns),
                engine=figures(
                    traces, [turn.engine for turn in turns], [turn.engine for turn in fifo]
                ),
                foretold=figures(
                    traces, [turn.foretold for turn in turns], [turn.foretold for turn in fifo]
                ),
                in_hindsight=figures(
                    traces,
                    [turn.in_hindsight for turn in turns],
                    [turn.fifo_in_hindsight for turn in turns],
                ),
            )
        )
    return rows


def _described(frame: FirstFrame) -> dict[str, str | float]:
    return {**asdict(frame), "by_step": frame.by_step, "by_unit": frame.by_unit}


def small_bundle(folder: Path) -> Path:
    """A model whose steps take so long that they, and not the engine's own work, are measured."""
    from wan_trt.export.bundle_writer import export_bundle
    from wan_trt.export.synthetic.checkpoint import write_checkpoint
    from wan_trt.export.synthetic.sizes import TINY

    sizes = replace(TINY, dim=256, heads=4, ffn=688, layers=6)
    export_bundle(write_checkpoint(folder / "checkpoint", sizes), folder / "bundle")
    return folder / "bundle"


if __name__ == "__main__":
    sys.exit(main())
