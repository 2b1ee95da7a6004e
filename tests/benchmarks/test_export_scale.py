"""The scale benchmark's numbers belong together: bytes to files, stages to the whole."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import export_scale
import pytest

from scale.bundle_bytes import inodes, referred_nbytes, written_nbytes
from scale.case import Case, Width
from scale.export_command import START, StageClock
from scale.figures import figures, projected_stages, targets
from scale.graph_stage import GraphStage, shapes_only
from scale.prepare import lora_file
from scale.runs import ExportRun
from wan_trt.engine.bundle import Bundle
from wan_trt.engine.errors import InputError
from wan_trt.engine.models import ModelName
from wan_trt.engine.request import ExpertName
from wan_trt.export import graphs
from wan_trt.export.progress import Progress, Stage
from wan_trt.export.synthetic.checkpoint import write_large_checkpoint
from wan_trt.export.synthetic.lora import write_musubi_lora
from wan_trt.export.synthetic.sizes import ANIMATE_14B

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "export_scale.py"
TINY = Case(layers=2, rank=4, width=Width.TINY)

FULL_RUN = ExportRun(
    name="full",
    wall_s=40.0,
    stages_s={START: 2.0, "sources": 8.0, "graphs": 10.0, "weights": 20.0},
    processor_s=60.0,
    peak_nbytes=2_000_000_000,
    written_nbytes=10,
    bundle_nbytes=10,
    referred_nbytes=10,
)
CHANGED_RUN = replace(FULL_RUN, name="both changed", wall_s=30.0, stages_s={"weights": 30.0})
GRAPH_STAGE = GraphStage(1, 1, 1.0, {"denoiser": 9.0}, 10.0, 12.0, 1, 1_600_000_000)


def test_bytes_in_are_those_of_the_files(tmp_path: Path) -> None:
    sizes = TINY.sizes
    folder = write_large_checkpoint(tmp_path / "checkpoint", sizes)
    shards = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    assert 0 <= shards - TINY.base_nbytes < 200_000  # names and places
    encoders = sum(path.stat().st_size for path in folder.glob("*.pth"))
    assert TINY.encoder_nbytes <= encoders < TINY.encoder_nbytes + 400_000
    lora = write_musubi_lora(lora_file(tmp_path, ExpertName.LOW), sizes, rank=TINY.rank)
    assert 0 <= lora.stat().st_size - TINY.lora_nbytes < 20_000


def test_a_case_of_40_full_layers_is_the_real_dit() -> None:
    full = Case(layers=40)
    assert full.base_nbytes == 2 * 17_274_817_108
    assert full.needed_nbytes(2) > 4 * full.base_nbytes
    with pytest.raises(InputError, match="7 layers"):
        Case(layers=7)


def test_too_small_a_disk_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    words = ["--work", str(tmp_path), "--width", "tiny", "--layers", "2", "--graphs", "none"]
    assert export_scale.main(words) == 3
    assert f"work: {tmp_path / 'checkpoint'} needs " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("model", "billions"), [("wan2.2-animate", 17.27), ("wan2.2-i2v-a14b", 14.29)]
)
def test_the_graph_stage_plans_the_real_models(model: str, billions: float) -> None:
    checkpoint, dit = shapes_only(ModelName(model), ANIMATE_14B)
    assert round(dit.parameters / 1e9, 2) == billions
    contents = graphs.plan(checkpoint)
    assert contents.geometry.layers == 40
    with pytest.raises(AssertionError, match="read"):
        dit.read("blocks.0.modulation")


def test_seconds_go_to_the_stage_that_was_told() -> None:
    clock, started = StageClock(), time.perf_counter()
    for stage in (Stage.CHECKPOINT, Stage.WEIGHTS, Stage.WEIGHTS):
        clock.tell(Progress(stage, "now"))
        time.sleep(0.02)
    clock.stop()
    assert list(clock.seconds) == [START, "checkpoint", "weights"]
    assert clock.seconds["weights"] > clock.seconds["checkpoint"] > 0.01
    assert sum(clock.seconds.values()) <= time.perf_counter() - started


def test_bytes_out_count_links_once_and_sets_as_often_as_referred_to(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    before = inodes(tiny_bundle.path)
    files = [path for path in tiny_bundle.path.rglob("*") if path.is_file()]
    assert sum(before.values()) == sum(path.stat().st_size for path in files)
    weights = sum(path.stat().st_size for path in tiny_bundle.weights_folder.iterdir())
    assert weights < referred_nbytes(tiny_bundle.path) < 2 * weights
    source = tmp_path / "source"
    source.write_bytes(bytes(10))
    old = inodes(tmp_path)
    (tmp_path / "link").hardlink_to(source)
    (tmp_path / "new").write_bytes(bytes(5))
    assert written_nbytes(old, inodes(tmp_path)) == 5
    assert sum(inodes(tmp_path).values()) == 15


def test_figures_follow_from_the_measurements() -> None:
    case = Case(layers=4)
    found = figures(case, [FULL_RUN, CHANGED_RUN], GRAPH_STAGE)
    megabytes = case.base_nbytes / 1e6
    assert found["full"]["weights_mb_per_s"] == pytest.approx(megabytes / 20)
    assert found["full"]["wall_mb_per_s"] == pytest.approx(megabytes / 40)
    assert found["full"]["share_of_full"] is None
    assert found["both changed"]["share_of_full"] == 0.75
    growth = Case(layers=40).base_nbytes / case.base_nbytes
    assert projected_stages(case, FULL_RUN, GRAPH_STAGE) == pytest.approx(
        {START: 2.0, "sources": 8 * growth, "graphs": 10.0, "weights": 20 * growth}
    )
    met = {what: met for what, _, _, met in targets([FULL_RUN, CHANGED_RUN], found, GRAPH_STAGE)}
    assert met["peak memory, full, MB"]
    assert not met["time of both changed by that of full, %"]
    assert not met["graphs of the real model, peak memory, MB"]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16", "fp8"])
def test_a_tiny_run_reports_everything(tmp_path: Path, precision: str) -> None:
    out = tmp_path / "result.json"
    options = ["--layers", "2", "--rank", "4", "--width", "tiny", "--graphs", "none"]
    options += ["--work", str(tmp_path / "work"), "--precision", precision]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests" / ".path")}
    finished = subprocess.run(
        [sys.executable, str(SCRIPT), *options, "--out", str(out)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    result = json.loads(out.read_text())
    (export,) = result["exports"]
    run, *changed = export["runs"]
    checkpoint = tmp_path / "work" / "layers-2" / "checkpoint"
    loras = (tmp_path / "work" / "layers-2").glob("lora_*.safetensors")
    assert result["precision"] == precision
    files = [*(path for path in checkpoint.rglob("*") if path.is_file()), *loras]
    assert export["in_nbytes"]["all_files"] == sum(path.stat().st_size for path in files)
    assert sum(run["stages_s"].values()) == pytest.approx(run["wall_s"])
    assert min(run["stages_s"].values()) >= 0
    assert run["written_nbytes"] == run["bundle_nbytes"] > 0
    assert run["referred_nbytes"] > 0
    for again in changed:
        assert 0 < again["written_nbytes"] < run["written_nbytes"]
    assert run["peak_nbytes"] > 100_000_000
    assert "| **whole run, s** |" in finished.stdout
    assert not (tmp_path / "work" / "layers-2" / "bundle").exists()
