"""The same traces in one lane and in two: on the real engine, and in the simulator.

    python benchmarks/overlap.py     # and benchmarks/results/overlap.json; 2 minutes and an export

On the engine: a small made-up bundle on the processor, one thread a graph, so that two lanes want
two cores. Both take turns at each trace, twice. In the simulator: an H100 as it computes one, for
several guesses of how much two streams slow each other down. docs/scheduling.md says what was
found.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from schedule_replay import small_bundle

from e2e.machine import describe_machine
from replay.jobs import TINY_MIXED, trace_requests
from replay.measured import described_costs, measured_machine, warm
from replay.replay import Replay, Replayed
from simulation.figures import Figures, figures
from simulation.machines import MACHINES
from simulation.simulate import Simulation
from simulation.traces import MIXED, TracedJob, make_trace
from wan_trt.engine.bundle import Bundle
from wan_trt.engine.dispatch import SchedulingOptions
from wan_trt.engine.engine import Engine
from wan_trt.engine.host_backend import HostBackend
from wan_trt.engine.lanes import APART, TOGETHER, Lane
from wan_trt.engine.scheduling.preference import Policy

RESULTS = Path(__file__).resolve().parent / "results" / "overlap.json"
LOAD = 1.5
"""More work comes than one lane can do: jobs wait, so there is something to overlap."""

POLICIES = (Policy.FIFO, Policy.DEADLINE)
LANES: tuple[tuple[Lane, ...], ...] = (TOGETHER, APART)
TURNS: tuple[tuple[Lane, ...], ...] = (TOGETHER, APART, APART, TOGETHER)
"""At each trace: other work that comes or goes is on both sides."""

SPEEDS = (0.5, 0.6, 0.75, 1.0)
SIMULATED_LOAD = 0.85


@dataclass(frozen=True)
class Replays:
    """A policy's turns, all to their ends. Ratios are of two lanes by one: medians over turns of
    the time from first arrival to last end, of the mean latency and of the longest."""

    policy: str
    end_s: tuple[list[float], list[float]]
    mean_s: tuple[list[float], list[float]]
    longest_s: tuple[list[float], list[float]]
    makespan_ratio: float
    mean_ratio: float
    longest_ratio: float


@dataclass(frozen=True)
class Simulated:
    """`side_by_side` is the speed of each of two units while both run, by that alone."""

    policy: str
    lanes: int
    side_by_side: float
    figures: Figures


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--jobs", type=int, default=14, help="of a trace (%(default)s)")
    parser.add_argument("--traces", type=int, default=2, help="how many (%(default)s)")
    parser.add_argument("--simulated", type=int, default=120, help="jobs there (%(default)s)")
    parser.add_argument("--seeds", type=int, default=2, help="traces there (%(default)s)")
    parser.add_argument("--bundle", type=Path, help="of Animate (default: a small made-up one)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the JSON file to write")
    options = parser.parse_args(arguments)
    machine = describe_machine(1, ("onnxruntime", "numpy"))
    with tempfile.TemporaryDirectory(prefix="overlap-") as folder:
        bundle = Bundle.open(options.bundle or small_bundle(Path(folder)))
        began_s = time.monotonic()
        replays, costs_ms, differing = replay(bundle, options.jobs, options.traces)
        seconds = time.monotonic() - began_s
    simulated = simulate(options.simulated, options.seeds)
    print(f"{replay_table(replays)}\n\n{len(differing)} results differ\n")
    print(simulated_table(simulated))
    result = {
        "machine": machine,
        "seconds": round(seconds, 1),
        "jobs": options.jobs,
        "load": LOAD,
        "costs_ms": costs_ms,
        "results_that_differ": differing,
        "engine": [asdict(each) for each in replays],
        "simulator": [asdict(each) for each in simulated],
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    return 1 if differing else 0


def replay(
    bundle: Bundle, jobs: int, traces: int
) -> tuple[list[Replays], list[dict[str, float]], list[str]]:
    """Each trace in one lane and in two, one after the other; whose results are not the same."""
    found: dict[tuple[Policy, tuple[Lane, ...]], list[tuple[list[TracedJob], Replayed]]] = {}
    costs_ms, differing = [], []
    with ExitStack() as stack:
        engines = {
            (policy, lanes): stack.enter_context(
                Engine(
                    bundle,
                    backend=HostBackend(threads=1, lanes=lanes),
                    scheduling=SchedulingOptions(policy, admission=False),
                )
            )
            for policy in POLICIES
            for lanes in LANES
        }
        for engine in engines.values():
            warm(engine)
        for seed in range(traces):
            machine = measured_machine(warm(engines[Policy.FIFO, TOGETHER]))
            costs_ms.append(described_costs(machine))
            trace = make_trace(TINY_MIXED, machine, LOAD, jobs, seed)
            requests = trace_requests(bundle, trace)
            digests = []
            for policy, lanes in itertools.product(POLICIES, TURNS):
                replayed = Replay(engines[policy, lanes], trace, requests).run(deadlines=False)
                found.setdefault((policy, lanes), []).append((trace, replayed))
                digests.append(replayed.digests)
            for job in trace:
                if len({each[job.job_id] for each in digests}) > 1:
                    differing.append(f"{job.job_id} of trace {seed}")
    replays = [_ratios(p, found[p, TOGETHER], found[p, APART]) for p in POLICIES]
    return replays, costs_ms, differing


def _ratios(
    policy: Policy,
    one: Sequence[tuple[list[TracedJob], Replayed]],
    two: Sequence[tuple[list[TracedJob], Replayed]],
) -> Replays:
    ends: tuple[list[float], list[float]] = [], []
    means: tuple[list[float], list[float]] = [], []
    longest: tuple[list[float], list[float]] = [], []
    for index, turns in enumerate((one, two)):
        for trace, replayed in turns:
            finished = replayed.outcome.finished_s
            latencies = [finished[job.job_id] - job.arrival_s for job in trace]
            ends[index].append(replayed.outcome.end_s - trace[0].arrival_s)
            means[index].append(statistics.mean(latencies))
            longest[index].append(max(latencies))
    return Replays(policy.value, ends, means, longest, _ratio(ends), _ratio(means), _ratio(longest))


def _ratio(values: tuple[list[float], list[float]]) -> float:
    return statistics.median(two / one for one, two in zip(*values, strict=True))


def simulate(jobs: int, seeds: int) -> list[Simulated]:
    """The mixed traffic on an H100 with both experts; latencies by FIFO's in one lane."""
    machine = MACHINES[0]
    traces = [make_trace(MIXED, machine, SIMULATED_LOAD, jobs, seed) for seed in range(seeds)]
    fifo = [Simulation(machine, trace, Policy.FIFO).run() for trace in traces]
    cases = [(TOGETHER, 1.0), *((APART, speed) for speed in SPEEDS)]
    found = []
    for policy in POLICIES:
        for lanes, speed in cases:
            outcomes = [
                Simulation(machine, trace, policy, lanes=lanes, side_by_side=speed).run()
                for trace in traces
            ]
            case = figures(traces, outcomes, fifo)
            found.append(Simulated(policy.value, len(lanes), speed, case))
    return found


def replay_table(replays: Sequence[Replays]) -> str:
    rows = ["| policy | all done | mean latency | longest latency |", "|---|---|---|---|"]
    for each in replays:
        ratios = (each.makespan_ratio, each.mean_ratio, each.longest_ratio)
        rows.append(f"| {each.policy} | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |")
    return "\n".join(rows)


def simulated_table(simulated: Sequence[Simulated]) -> str:
    rows = [
        "| policy | lanes | speed side by side | deadlines met | mean, s | P99, s | longest |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in simulated:
        f, speed = each.figures, "" if each.lanes == 1 else f"{each.side_by_side:g}"
        rows.append(
            f"| {each.policy} | {each.lanes} | {speed} | {f.met:.1%} | {f.mean_s:.0f} "
            f"| {f.p99_s:.0f} | {f.longest:.2f} |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
