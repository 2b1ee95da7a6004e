"""The exports that are measured: both experts in full, then again with other strengths."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scale.bundle_bytes import inodes, referred_nbytes, written_nbytes
from scale.export_command import START, ExportTimes
from scale.prepare import CHECKPOINT, lora_file
from scale.process import run_module
from wan_trt.engine.request import ExpertName

FULL = "full"
# The strengths of each run; the second changes one expert's, the third both.
STRENGTHS: Mapping[str, Mapping[ExpertName, float]] = {
    FULL: {ExpertName.HIGH: 1.0, ExpertName.LOW: 1.0},
    "low changed": {ExpertName.HIGH: 1.0, ExpertName.LOW: 0.5},
    "both changed": {ExpertName.HIGH: 0.5, ExpertName.LOW: 0.25},
}
FP8 = "fp8"
SCALES = "made_up.scales"  # in the case's folder


@dataclass(frozen=True)
class ExportRun:
    """One `wan-trt export`: seconds from the process's start to its exit, and of them by stage
    (`start`: all outside the others); processor seconds of its threads; the most memory it held.
    Bytes it wrote, of the bundle on the disk with hard links counted once, and of the weights that
    the bundle's graphs refer to."""

    name: str
    wall_s: float
    stages_s: dict[str, float]
    processor_s: float
    peak_nbytes: int
    written_nbytes: int
    bundle_nbytes: int
    referred_nbytes: int


def export_runs(folder: Path, precision: str, names: Sequence[str]) -> list[ExportRun]:
    """Runs of `STRENGTHS` by name, one after the other into the same bundle, which is removed in
    the end. What each reads was written or read just before: the page cache is as warm as the
    machine's memory lets it be."""
    bundle = folder / "bundle"
    shutil.rmtree(bundle, ignore_errors=True)
    try:
        return [_run(folder, bundle, precision, name) for name in names]
    finally:
        shutil.rmtree(bundle, ignore_errors=True)


def run_loras(folder: Path, name: str) -> dict[ExpertName, str]:
    """What each expert's --lora option says in the run `name`."""
    return {
        expert: f"{lora_file(folder, expert)},strength={strength}"
        for expert, strength in STRENGTHS[name].items()
    }


def _run(folder: Path, bundle: Path, precision: str, name: str) -> ExportRun:
    result = folder / "export.json"
    arguments = [str(folder / CHECKPOINT), "--out", str(bundle), "--precision", precision]
    for expert, spec in run_loras(folder, name).items():
        arguments += [f"--lora-{expert}", spec]
    if precision == FP8:
        run_module("scale.made_up_scales", str(folder), name)
        arguments += ["--scales", str(folder / SCALES), "--no-gate"]
    before = inodes(bundle) if bundle.is_dir() else {}
    os.sync()  # what earlier runs have left to write is not to be waited for in this one
    wall = run_module("scale.export_command", str(result), *arguments)
    times, after = ExportTimes.read(result), inodes(bundle)
    inside = sum(seconds for stage, seconds in times.stages_s.items() if stage != START)
    return ExportRun(
        name=name,
        wall_s=wall,
        stages_s={**times.stages_s, START: wall - inside},
        processor_s=times.processor_s,
        peak_nbytes=times.peak_nbytes,
        written_nbytes=written_nbytes(before, after),
        bundle_nbytes=sum(after.values()),
        referred_nbytes=referred_nbytes(bundle),
    )
