"""The measurements as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scale.case import Case
from scale.graph_stage import GraphStage
from scale.runs import ExportRun

_MB = 1e-6


def bytes_line(case: Case, all_nbytes: int) -> str:
    """What goes in."""
    base, loras = case.base_nbytes * _MB, 2 * case.lora_nbytes * _MB
    return (
        f"{case.layers} layers: {base:.0f} MB of bfloat16 DiT, {loras:.0f} MB of two rank-"
        f"{case.rank} LoRAs, {all_nbytes * _MB:.0f} MB of files in all"
    )


def runs_table(runs: Sequence[ExportRun], figures: Mapping[str, Mapping[str, Any]]) -> str:
    """A column for each run."""
    stages = dict.fromkeys(stage for run in runs for stage in run.stages_s)
    found = [figures[run.name] for run in runs]
    rows: list[tuple[str, list[float | None]]] = [
        *((f"{stage}, s", [run.stages_s.get(stage) for run in runs]) for stage in stages),
        ("**whole run, s**", [run.wall_s for run in runs]),
        ("processor time, s", [run.processor_s for run in runs]),
        ("peak memory, MB", [run.peak_nbytes * _MB for run in runs]),
        ("written, MB", [run.written_nbytes * _MB for run in runs]),
        ("bundle on disk, MB", [run.bundle_nbytes * _MB for run in runs]),
        ("weights its graphs refer to, MB", [run.referred_nbytes * _MB for run in runs]),
        ("MB/s of base in `weights`", [one["weights_mb_per_s"] for one in found]),
        ("MB/s of base in the whole run", [one["wall_mb_per_s"] for one in found]),
        ("share of the full run", [one["share_of_full"] for one in found]),
        ("projected to 40 layers, s", [one["projected_s"] for one in found]),
    ]
    names = " | ".join(run.name for run in runs)
    lines = [f"| | {names} |", f"|---{'|---' * len(runs)}|"]
    return "\n".join(lines + [_row(label, values) for label, values in rows if any(values)])


def graphs_table(stages: Mapping[str, GraphStage]) -> str:
    """A column for each model."""
    graphs = dict.fromkeys(name for stage in stages.values() for name in stage.graphs_s)
    columns = list(stages.values())
    rows: list[tuple[str, list[float | None]]] = [
        ("plan, s", [stage.plan_s for stage in columns]),
        *((f"{name}, s", [stage.graphs_s.get(name) for stage in columns]) for name in graphs),
        ("**all, s**", [stage.total_s for stage in columns]),
        ("processor time with imports, s", [stage.processor_s for stage in columns]),
        ("peak memory, MB", [stage.peak_nbytes * _MB for stage in columns]),
        ("of it after imports, MB", [stage.imported_nbytes * _MB for stage in columns]),
        ("parameters of a DiT, billions", [stage.dit_parameters / 1e9 for stage in columns]),
        ("parameters of all graphs, billions", [stage.graph_parameters / 1e9 for stage in columns]),
    ]
    lines = [f"| graphs without weights | {' | '.join(stages)} |", f"|---{'|---' * len(stages)}|"]
    return "\n".join(lines + [_row(label, values) for label, values in rows])


def targets_table(rows: Sequence[tuple[str, float, float, bool]]) -> str:
    lines = ["| target | measured | wanted | |", "|---|---|---|---|"]
    lines += [
        f"| {what} | {measured:.4g} | {target:g} | {'met' if met else 'missed'} |"
        for what, measured, target, met in rows
    ]
    return "\n".join(lines)


def _row(label: str, values: Sequence[float | None]) -> str:
    cells = ["" if value is None else _number(value) for value in values]
    return f"| {label} | {' | '.join(cells)} |"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.2f}"
