"""Export at full width: memory, seconds by stage, bytes, what a change of strength costs.

Makes up a checkpoint of Wan2.2-Animate-14B's width with some of its blocks and a LoRA for each
expert, exports both experts, then again with other strengths, each time in a process of its own;
and traces all graphs of the real models without weights. Needs the extra `export`, Linux, and disk:

    pip install --editable '.[export]'
    python benchmarks/export_scale.py --layers 4

docs/benchmarks.md says what is measured and how.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from e2e.machine import describe_machine
from scale.case import Case, Width
from scale.figures import figures, targets
from scale.graph_stage import GraphStage
from scale.prepare import CASE, CHECKPOINT, PREPARED, lora_file
from scale.process import run_module
from scale.report import bytes_line, graphs_table, runs_table, targets_table
from scale.runs import FULL, STRENGTHS, export_runs
from wan_trt.engine.errors import WanTrtError
from wan_trt.engine.models import ModelName
from wan_trt.engine.request import ExpertName
from wan_trt.media.disk_space import require_space

RESULTS = Path(__file__).resolve().parent / "results" / "export_scale.json"
PACKAGES = ("torch", "onnxscript", "onnx-ir", "safetensors", "onnxruntime", "numpy")
PAGE_CACHE = "warm: each run reads files that were just written or read, as far as memory held them"
STORED_NBYTES = {"fp32": 4, "bf16": 2, "fp8": 2}  # at most


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        return _measure(options)
    except WanTrtError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except subprocess.CalledProcessError as error:  # it has said why
        return int(error.returncode) or 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument(
        "--layers",
        type=int,
        nargs="+",
        default=[4],
        help="blocks of the DiT, of 40; several numbers are measured one by one (%(default)s)",
    )
    parser.add_argument("--rank", type=int, default=128, help="of the LoRAs (%(default)s)")
    parser.add_argument(
        "--precision", choices=STORED_NBYTES, default="bf16", help="of the bundle (%(default)s)"
    )
    parser.add_argument(
        "--only-full", action="store_true", help="leave out the runs with other strengths"
    )
    parser.add_argument(
        "--graphs",
        choices=["both", "animate", "none"],
        default="both",
        help="the real models whose graphs are traced (%(default)s)",
    )
    parser.add_argument("--only-graphs", action="store_true", help="leave out the exports")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the JSON file to write")
    parser.add_argument("--work", type=Path, help="keep checkpoints here, and use them again")
    parser.add_argument(
        "--width", type=Width, choices=list(Width), default=Width.FULL, help=argparse.SUPPRESS
    )
    return parser


def _measure(options: argparse.Namespace) -> int:
    cases = [Case(layers, options.rank, options.width) for layers in options.layers]
    machine = describe_machine(len(os.sched_getaffinity(0)), PACKAGES)
    with tempfile.TemporaryDirectory(prefix="export-scale-") as scratch:
        folder = Path(scratch) if options.work is None else options.work.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        if not options.only_graphs:
            needed = max(case.needed_nbytes(STORED_NBYTES[options.precision]) for case in cases)
            require_space(folder / CHECKPOINT, needed, "work")
        stages = _graph_stages(folder, options)
        graphs = stages.get(ModelName.ANIMATE.label)
        exports = (
            [] if options.only_graphs else [_export(folder, c, options, graphs) for c in cases]
        )
    _write(
        options.out,
        {
            "machine": machine,
            "page_cache": PAGE_CACHE,
            "precision": options.precision,
            "graphs": {name: asdict(stage) for name, stage in stages.items()},
            "exports": exports,
        },
    )
    return 0


def _graph_stages(folder: Path, options: argparse.Namespace) -> dict[str, GraphStage]:
    models = {"both": list(ModelName), "animate": [ModelName.ANIMATE], "none": []}[options.graphs]
    result, stages = folder / "graphs.json", {}
    for model in models:
        print(f"tracing all graphs of {model.label}", file=sys.stderr)
        run_module("scale.graph_stage", model.value, options.width.value, str(result))
        stages[model.label] = GraphStage.read(result)
    if stages:
        print(f"\n{graphs_table(stages)}\n", flush=True)
    return stages


def _export(
    folder: Path, case: Case, options: argparse.Namespace, graphs: GraphStage | None
) -> dict[str, Any]:
    work = folder / f"layers-{case.layers}"
    prepared = _prepare(work, case)
    files = [path for path in (work / CHECKPOINT).rglob("*") if path.is_file()]
    files += [lora_file(work, expert) for expert in ExpertName]
    all_nbytes = sum(path.stat().st_size for path in files)
    names = [FULL] if options.only_full else list(STRENGTHS)
    runs = export_runs(work, options.precision, names)
    found = figures(case, runs, graphs)
    met = targets(runs, found, graphs)
    if options.work is None:
        for path in files:
            path.unlink()
    print(f"\n{bytes_line(case, all_nbytes)}\n\n{runs_table(runs, found)}\n\n{targets_table(met)}")
    return {
        "case": asdict(case),
        "in_nbytes": {
            "base": case.base_nbytes,
            "loras": 2 * case.lora_nbytes,
            "all_files": all_nbytes,
        },
        "prepared": prepared,
        "runs": [{**asdict(run), **found[run.name]} for run in runs],
        "targets": [
            dict(zip(("what", "measured", "target", "met"), row, strict=True)) for row in met
        ],
    }


def _prepare(folder: Path, case: Case) -> dict[str, float]:
    """Checkpoint and LoRAs; what lies there for the same case is used again. Returns what making
    them took."""
    folder.mkdir(exist_ok=True)
    done = folder / PREPARED
    if not done.is_file() or Case.read(folder / CASE) != case:
        done.unlink(missing_ok=True)
        case.write(folder / CASE)
        print(f"writing a checkpoint of {case.layers} layers and two LoRAs", file=sys.stderr)
        run_module("scale.prepare", str(folder))
    took: dict[str, float] = json.loads(done.read_text())
    return took


def _write(path: Path, result: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
