"""`wan-trt gate`, as one types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from changed_bundles import copy_bundle, with_scaled_tensor

from wan_trt.cli.main import main
from wan_trt.engine.bundle import Bundle


def test_a_bundle_that_passes_is_noted_and_shown(
    tiny_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = copy_bundle(tiny_bundle, tmp_path / "bundle")
    words = ["gate", str(bundle.path), "--against", str(tiny_bundle.path)]
    assert main(words) == 0
    assert "passed  velocity.cosine.high" in capsys.readouterr().out
    assert main(["inspect", str(bundle.path), "--verify"]) == 0
    shown = capsys.readouterr().out
    assert "gate       passed against" in shown
    assert "frames.psnr 200" in shown


def test_a_bundle_that_fails_ends_with_5_and_all_it_wrote(
    tiny_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = with_scaled_tensor(tiny_bundle, "blocks.1.ffn.0.weight", 8, tmp_path / "bundle")
    report, numbers = tmp_path / "report.html", tmp_path / "verdict.json"
    words = ["gate", str(broken.path), "--against", str(tiny_bundle.path), "--no-record"]
    assert main([*words, "--report", str(report), "--json", str(numbers)]) == 5
    captured = capsys.readouterr()
    assert "FAILED  velocity.cosine.high" in captured.out
    assert captured.err.splitlines()[-1].startswith("wan-trt: error: the bundle is not as good as")
    assert "velocity.cosine.high" in json.loads(numbers.read_text())["failed"]
    assert "<svg" in report.read_text()
    assert Bundle.open(broken.path).manifest.gate is None


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--size", "96"], "--size: '96'"),
        (["--segments", "2"], "--segments: 2"),
        (["--thresholds", "none.toml"], "--thresholds: none.toml"),
        (["--inputs", "nowhere"], "--inputs: nowhere"),
        (["--report", "nowhere/report.html"], "--report: "),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_runs(
    options: list[str],
    named: str,
    tiny_bundle: Bundle,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["gate", str(tiny_bundle.path), "--against", str(tiny_bundle.path), *options]
    assert main(words) == 2
    assert named in capsys.readouterr().err


def test_a_reference_that_is_not_there_is_refused(
    tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gate", str(tiny_bundle.path), "--against", "nowhere.safetensors"]) == 2
    assert "--against: nowhere.safetensors" in capsys.readouterr().err
