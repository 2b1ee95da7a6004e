"""`wan-trt build` where there is neither GPU nor TensorRT."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from changed_bundles import copy_bundle

from wan_trt.cli.main import main
from wan_trt.engine.bundle import Bundle


def test_a_dry_run_tells_of_every_engine(
    tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = (tiny_bundle.path / "manifest.json").read_bytes()
    assert main(["build", str(tiny_bundle.path), "--size", "96x64", "--dry-run"]) == 0
    told = capsys.readouterr().out.splitlines()
    for name, graph in tiny_bundle.manifest.graphs.items():
        for weight_set in graph.weights:
            assert sum(line.startswith(f"{name}-{weight_set}") for line in told) == 1
    [denoiser] = [line for line in told if line.startswith("denoiser-high")]
    assert denoiser.startswith("denoiser-high-columns6-frames21-rows4 ")
    assert denoiser.endswith("0 attentions, 0 FP8 linears")  # float32: written out
    engines = sum(len(graph.weights) for graph in tiny_bundle.manifest.graphs.values())
    assert told[-1].startswith(f"{engines} engines, ")
    assert (tiny_bundle.path / "manifest.json").read_bytes() == manifest


def test_sizes_and_graphs_are_chosen(
    tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--size", "96x64", "--size", "64x96", "--frames", "5", "--graphs", "denoiser"]
    assert main(["build", str(tiny_bundle.path), *words, "--dry-run"]) == 0
    told = capsys.readouterr().out
    for weight_set in ("high", "low"):
        for size in ("columns6-frames3-rows4", "columns4-frames3-rows6"):
            assert f"denoiser-{weight_set}-{size} " in told


def test_a_graph_that_tensorrt_would_refuse(
    tiny_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = copy_bundle(tiny_bundle, tmp_path / "bundle")
    file = bundle.graph_path("denoiser")
    file.write_bytes(file.read_bytes().replace(b"\x04Gelu", b"\x04Gelo"))
    words = ["build", str(bundle.path), "--size", "96x64", "--dry-run"]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "node node_gelu (Gelo) of graph denoiser" in error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--size", "96"], "--size: '96'; expected WIDTHxHEIGHT"),
        (["--size", "100x64"], "--size: 100x64; expected sides that are multiples of 16; use 96"),
        (["--size", "96x64", "--frames", "8"], "--frames: 8 frames; expected 4n+1"),
        (["--size", "96x64", "--graphs", "dit"], "--graphs: dit; expected graphs of the bundle"),
        (["--size", "96x64", "--workspace-gb", "0"], "--workspace-gb: 0.0; expected gigabytes"),
        (["--size", "96x64", "--optimization-level", "6"], "--optimization-level: 6; expected 0"),
        (
            ["--size", "96x64", "--refit-loras", "--no-parity"],
            "--refit-loras: refittable plans without parity",
        ),
        (
            ["--size", "96x64", "--refit-loras", "--graphs", "vae_encoder_next"],
            "--refit-loras: no LoRA changed anything in these graphs",
        ),
    ],
)
def test_what_cannot_be_built_is_refused(
    tiny_bundle: Bundle, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["build", str(tiny_bundle.path), *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.skipif(bool(importlib.util.find_spec("tensorrt")), reason="TensorRT is here")
def test_without_tensorrt_nothing_is_left_behind(
    tiny_bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[1] / ".path"))
    bundle = copy_bundle(tiny_bundle, tmp_path / "bundle")
    before = sorted(tmp_path.rglob("*"))
    words = ["build", str(bundle.path), "--size", "96x64"]
    assert main(words) == 2
    assert "install wan-trt[trt] there, or look with --dry-run" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before
    assert main([*words, "--keep", str(tmp_path / "kept")]) == 2
    assert (tmp_path / "kept" / "probe" / "probe.log").is_file()
    assert main([*words, "--keep", str(bundle.path / "manifest.json")]) == 2
    assert "--keep: " in capsys.readouterr().err
