"""The scheduler over simulated hours of an H100 and an L40S, and the microseconds of its decisions.

    python benchmarks/schedule.py            # tables, benchmarks/results/schedule.json and plots
    python benchmarks/schedule.py --jobs 100 --seeds 2    # a try

The scheduler is the engine's own class; what units take is computed (simulation/machines.py), jobs
are drawn from seeds. docs/scheduling.md says what the simulator leaves out.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from e2e.machine import describe_machine
from simulation import overhead
from simulation.figures import figures
from simulation.machines import MACHINES, Machine
from simulation.report import (
    Case,
    overhead_table,
    plots,
    policy_table,
    summary_table,
    targets,
)
from simulation.simulate import Simulation
from simulation.traces import MIXED, TRAFFICS, Traffic, make_trace
from simulation.uneven import uneven_table, uneven_work
from wan_trt.engine.scheduling.preference import Policy

RESULTS = Path(__file__).resolve().parent / "results" / "schedule.json"
LOAD = 0.85
SWEEP = (0.5, 0.7, 0.85, 1.0, 1.2)
LIVE_JOBS = 1000
WORST = (MACHINES[-1], TRAFFICS[1])
"""Where somebody waits longest."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--jobs", type=int, default=300, help="of a trace (%(default)s)")
    parser.add_argument("--seeds", type=int, default=10, help="traces of a case (%(default)s)")
    parser.add_argument("--decisions", type=int, default=20_000, help="timed (%(default)s)")
    parser.add_argument("--live", type=int, default=LIVE_JOBS, help="jobs then (%(default)s)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the JSON file to write")
    options = parser.parse_args(arguments)
    described = describe_machine(1, ())
    overheads = [
        overhead.measure(machine, policy, admission, options.live, options.decisions)
        for machine in (MACHINES[0], MACHINES[-1])
        for admission in (False, True)
        for policy in Policy
    ]
    print(f"{options.live} live jobs\n{overhead_table(overheads)}")
    places = [(machine, traffic, LOAD) for machine in MACHINES for traffic in TRAFFICS]
    cases = [case for place in places for case in simulate(*place, options.jobs, options.seeds)]
    sweep = [
        case
        for load in SWEEP
        for case in simulate(MACHINES[0], MIXED, load, options.jobs, options.seeds)
    ]
    known = simulate(*WORST, LOAD, options.jobs, options.seeds, costs_known=True)
    uneven = uneven_work(MACHINES[0], MIXED, LOAD, options.jobs, options.seeds)
    print(f"\n{summary_table(cases)}")
    for machine, traffic, load in places[:2]:
        here = [case for case in cases if case.place == (machine.name, traffic.name, load)]
        print(f"\n{machine.name}; {traffic.name}, load {load}\n{policy_table(here)}")
    print(f"\ncosts known from the start\n{summary_table(known)}")
    print(f"\nuneven work, load {LOAD} of the medians\n{uneven_table(uneven)}")
    print(f"\nover the load of {MIXED.name}\n{summary_table(sweep)}")
    missed = targets([*cases, *sweep], overheads)
    print("\n" + "\n".join(["targets missed:", *missed] if missed else ["every target is met"]))
    result = {
        "machine": described,
        "jobs": options.jobs,
        "seeds": options.seeds,
        "targets_missed": missed,
        "overhead": [asdict(each) for each in overheads],
        "cases": [asdict(case) for case in cases],
        "costs_known": [asdict(case) for case in known],
        "uneven": [asdict(row) for row in uneven],
        "sweep": [asdict(case) for case in sweep],
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    for name, svg in plots(sweep).items():
        options.out.with_name(f"{options.out.stem}_{name}.svg").write_text(svg)
    return 0


def simulate(
    machine: Machine,
    traffic: Traffic,
    load: float,
    jobs: int,
    seeds: int,
    *,
    costs_known: bool = False,
) -> list[Case]:
    """Every policy, without and with admission, over the same traces."""
    traces = [make_trace(traffic, machine, load, jobs, seed) for seed in range(seeds)]
    fifo = [Simulation(machine, trace, Policy.FIFO).run() for trace in traces]
    cases = []
    for admission in (False, True):
        for policy in Policy:
            outcomes = [
                Simulation(machine, trace, policy, admission, costs_known=costs_known).run()
                for trace in traces
            ]
            cases.append(
                Case(
                    machine=machine.name,
                    traffic=traffic.name,
                    load=load,
                    policy=policy,
                    admission=admission,
                    figures=figures(traces, outcomes, fifo),
                )
            )
    return cases


if __name__ == "__main__":
    sys.exit(main())
