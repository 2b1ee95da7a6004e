"""Tables of a replay: the engine's figures beside the simulator's."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from replay.first_frame import FirstFrame
from simulation.figures import Figures


@dataclass(frozen=True)
class Row:
    """One policy over all traces. `foretold` is the simulator with the costs that were measured
    before each trace, `in_hindsight` with the medians of the very replay, for its FIFO too.
    `ends_late` is whether jobs ended when their time was over; `late` is how many did. `slower` is
    the time that units took by what the costs before made of them."""

    policy: str
    admission: bool
    ends_late: bool
    jobs: int
    late: int
    refused: int
    slower: float
    engine: Figures
    foretold: Figures
    in_hindsight: Figures


def replay_table(rows: Sequence[Row]) -> str:
    """Each cell: the engine / foretold / in hindsight."""
    lines = [
        "| policy | admission | deadlines met | mean, s | P99, s | longest by FIFO's | came back "
        "| late, refused | units' time by that foretold |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        three = (row.engine, row.foretold, row.in_hindsight)
        name = row.policy if row.ends_late else f"{row.policy}, all to the end"
        cells = (
            [f"{each.met:.0%}" for each in three],
            [f"{each.mean_s:.2f}" for each in three],
            [f"{each.p99_s:.2f}" for each in three],
            [f"{each.longest:.2f}" for each in three],
            [f"{each.comebacks:.2f}" for each in three],
        )
        joined = " | ".join(" / ".join(cell) for cell in cells)
        lines.append(
            f"| {name} | {'yes' if row.admission else ''} | {joined} "
            f"| {row.late}, {row.refused} | {row.slower:.2f} |"
        )
    return "\n".join(lines)


def first_frame_table(found: Sequence[FirstFrame]) -> str:
    lines = [
        "| policy | met | turns | units of the long job before it "
        "| by one step and own work, median | greatest "
        "| by that unit and own work, median | greatest |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for policy, stage in dict.fromkeys((each.policy, each.met) for each in found):
        here = [each for each in found if (each.policy, each.met) == (policy, stage)]
        numbers = []
        for ratios in ([each.by_step for each in here], [each.by_unit for each in here]):
            numbers += [f"{statistics.median(ratios):.2f}", f"{max(ratios):.2f}"]
        waited = f"{min(e.long_units for e in here)} to {max(e.long_units for e in here)}"
        lines.append(f"| {policy} | {stage} | {len(here)} | {waited} | {' | '.join(numbers)} |")
    return "\n".join(lines)
