"""What follows from the measurements: rates, ratios, and what 40 blocks would take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from scale.case import REAL_LAYERS, Case
from scale.graph_stage import GraphStage
from scale.runs import FULL, ExportRun

WEIGHTS, GRAPHS = "weights", "graphs"
# Stages whose time goes with the bytes that they read or write; others take what they take.
_BY_BYTES = {WEIGHTS, "sources", "hashing", "graphs and weights"}
_MB = 1e-6


def figures(case: Case, runs: Sequence[ExportRun], graphs: GraphStage | None) -> dict[str, Any]:
    """By name of the run: megabytes of the DiT's bfloat16 tensors, counted once though two experts
    are made of them, per second of the stage `weights` and of the whole run; share of the full
    run's time; seconds projected to 40 blocks. None where a run has no such stage."""
    full = next((run.wall_s for run in runs if run.name == FULL), None)
    base = case.base_nbytes * _MB
    return {
        run.name: {
            "weights_mb_per_s": base / run.stages_s[WEIGHTS] if WEIGHTS in run.stages_s else None,
            "wall_mb_per_s": base / run.wall_s,
            "share_of_full": None if full is None or run.name == FULL else run.wall_s / full,
            "projected_s": sum(projected_stages(case, run, graphs).values()),
        }
        for run in runs
    }


def projected_stages(case: Case, run: ExportRun, graphs: GraphStage | None) -> dict[str, float]:
    """Seconds by stage for a DiT of 40 blocks beside the same small encoders. What goes with bytes
    grows with those of the DiT, as if the page cache held them; a full run's graphs take what the
    full-size model's took, where that was measured; all else stays."""
    growth = replace(case, layers=REAL_LAYERS).base_nbytes / case.base_nbytes
    seconds = {
        stage: value * (growth if stage in _BY_BYTES else 1.0)
        for stage, value in run.stages_s.items()
    }
    if graphs is not None and run.name == FULL and GRAPHS in seconds:
        seconds[GRAPHS] = graphs.total_s
    return seconds


def targets(
    runs: Sequence[ExportRun], found: Mapping[str, Mapping[str, Any]], graphs: GraphStage | None
) -> list[tuple[str, float, float, bool]]:
    """(what, measured, target, whether it is met); only what was measured."""
    rows: list[tuple[str, float, float, bool]] = []

    def at_most(what: str, measured: float, target: float) -> None:
        rows.append((what, measured, target, measured <= target))

    for run in runs:
        at_most(f"peak memory, {run.name}, MB", run.peak_nbytes * _MB, 3000)
        share = found[run.name]["share_of_full"]
        if share is not None:
            at_most(f"time of {run.name} by that of full, %", 100 * share, 60)
        rate = found[run.name]["weights_mb_per_s"]
        if run.name == FULL and rate is not None:
            rows.append(("base weights into two experts, MB/s", rate, 150, rate >= 150))
    if graphs is not None:
        at_most("graphs of the real model, s", graphs.total_s, 60)
        at_most("graphs of the real model, peak memory, MB", graphs.peak_nbytes * _MB, 1500)
    return rows
