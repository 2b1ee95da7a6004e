"""What users would have noticed of a policy."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from simulation.simulate import Outcome
from simulation.traces import TracedJob


@dataclass(frozen=True)
class Figures:
    """Of one or more traces together. Shares are of all jobs with a deadline: one that was refused
    has missed it. Latencies, from arrival to end, are of the jobs that were done.

    `goodput` is the share of the time from first arrival to last end that went into jobs which
    ended in time. `fairness` is Jain's index over owners of the service that they had by an equal
    share of the machine while they had jobs: 1 where all had that, 0.25 where one of four had
    everything. `longest` is the
    greatest latency by that of the same job under first come, first served.
    """

    met: float
    refused: float
    mean_s: float
    p99_s: float
    goodput: float
    fairness: float
    loads: float
    loading: float
    comebacks: float
    longest: float
    met_by_kind: Mapping[str, float]


def figures(
    traces: Sequence[Sequence[TracedJob]], outcomes: Sequence[Outcome], fifo: Sequence[Outcome]
) -> Figures:
    """`fifo` are the outcomes of first come, first served without admission."""
    latencies: list[float] = []
    ratios: list[float] = []
    had: dict[str, float] = {}
    due: dict[str, float] = {}
    met: dict[str, list[bool]] = {}
    useful_s = wall_s = busy_s = 0.0
    for trace, outcome, first in zip(traces, outcomes, fifo, strict=True):
        wall_s += outcome.end_s - trace[0].arrival_s
        for job in trace:
            end_s = outcome.finished_s.get(job.job_id)
            if job.deadline_s is not None:
                in_time = end_s is not None and end_s <= job.deadline_s
                met.setdefault(job.kind, []).append(in_time)
                useful_s += job.own_s * in_time
            if end_s is None:
                continue
            busy_s += job.own_s
            latency_s = end_s - job.arrival_s
            latencies.append(latency_s)
            had[job.owner] = had.get(job.owner, 0.0) + job.own_s
            ratios.append(latency_s / (first.finished_s[job.job_id] - job.arrival_s))
        for owner, share_s in equal_shares(trace, outcome).items():
            due[owner] = due.get(owner, 0.0) + share_s
    jobs = sum(len(trace) for trace in traces)
    hurried = [in_time for kind in met.values() for in_time in kind]
    return Figures(
        met=_share(hurried),
        refused=sum(len(outcome.refused) for outcome in outcomes) / max(1, len(hurried)),
        mean_s=statistics.fmean(latencies),
        p99_s=_p99(latencies),
        goodput=useful_s / wall_s,
        fairness=jain([had[owner] / due[owner] for owner in had]),
        loads=sum(outcome.loads for outcome in outcomes) / jobs,
        loading=sum(outcome.loading_s for outcome in outcomes) / busy_s,
        comebacks=sum(outcome.changes for outcome in outcomes) / jobs,
        longest=max(ratios),
        met_by_kind={kind: _share(times) for kind, times in sorted(met.items())},
    )


def equal_shares(trace: Sequence[TracedJob], outcome: Outcome) -> dict[str, float]:
    """Seconds of the machine that each owner would have had, if those with live jobs at a time had
    shared it equally."""
    changes: list[tuple[float, int, str]] = []
    for job in trace:
        if (end_s := outcome.finished_s.get(job.job_id)) is not None:
            changes += [(job.arrival_s, 1, job.owner), (end_s, -1, job.owner)]
    shares: dict[str, float] = {}
    live: dict[str, int] = {}
    before = 0.0
    for at_s, change, owner in sorted(changes):
        active = [name for name, count in live.items() if count]
        for name in active:
            shares[name] = shares.get(name, 0.0) + (at_s - before) / len(active)
        before = at_s
        live[owner] = live.get(owner, 0) + change
    return shares


def jain(values: Iterable[float]) -> float:
    """Jain's fairness index: (sum)^2 / (n * sum of squares)."""
    numbers = list(values)
    return sum(numbers) ** 2 / (len(numbers) * sum(number**2 for number in numbers))


def _p99(values: Sequence[float]) -> float:
    """Of less than a hundred it is the greatest: nothing is read into what lies beyond."""
    longest = max(values)
    return min(longest, statistics.quantiles(values, n=100)[98]) if len(values) > 1 else longest


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / max(1, len(flags))
