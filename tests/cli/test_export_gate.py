"""`wan-trt export --precision fp8` judges its bundle before it appears."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from calibration_samples import write_driven_sample

from wan_trt.calibration.gate.thresholds import Thresholds
from wan_trt.cli.main import main
from wan_trt.engine.bundle import Bundle
from wan_trt.export.bundle_writer import export_bundle
from wan_trt.export.lora.spec import LoraStacks
from wan_trt.export.options import ExportOptions
from wan_trt.export.precision import Precision
from wan_trt.export.synthetic.scales import synthetic_scales

LOOSE = "[velocity]\ncosine_min = 0.9\nrelative_error_max = 1\n"
STRICT = "[velocity]\ncosine_min = 1.5\n"


@pytest.fixture(scope="module")
def ungated(
    tiny_checkpoint: Path,
    tiny_loras: LoraStacks,
    tiny_bundle: Bundle,
    tmp_path_factory: pytest.TempPathFactory,
) -> Bundle:
    """`tiny_bundle` at FP8, as a library makes it, and in the folder the scales that it has."""
    folder = tmp_path_factory.mktemp("fp8")
    scales = synthetic_scales(tiny_checkpoint, tiny_loras)
    scales.write(folder / "tiny.scales")
    options = ExportOptions(
        tiny_loras, precision=Precision.FP8, reuse=(tiny_bundle.path,), scales=scales
    )
    return export_bundle(tiny_checkpoint, folder / "bundle", options)


@pytest.fixture
def words(
    ungated: Bundle, tiny_checkpoint: Path, tiny_loras: LoraStacks, tmp_path: Path
) -> list[str]:
    """An export to `out` in the test's folder that makes no tensor again."""
    found = ["export", str(tiny_checkpoint), "--out", str(tmp_path / "out"), "--precision", "fp8"]
    found += ["--scales", str(ungated.path.parent / "tiny.scales"), "--reuse", str(ungated.path)]
    both, high, low = (spec.path for [spec] in (tiny_loras.both, tiny_loras.high, tiny_loras.low))
    return [*found, "--lora", str(both), "--lora-high", str(high), "--lora-low", str(low)]


def thresholds(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "thresholds.toml"
    file.write_text(text)
    return ["--thresholds", str(file)]


def test_without_a_reference_a_bf16_bundle_is_made_and_removed(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words += thresholds(tmp_path, LOOSE)
    assert main(words) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [str(tmp_path / "out")]
    assert "making a bf16 bundle of the same checkpoint" in shown.err
    assert "passed  velocity.cosine.high" in shown.err
    assert {path.name for path in tmp_path.iterdir()} == {"out", "thresholds.toml"}
    bundle = Bundle.open(tmp_path / "out")
    bundle.verify()
    gate = bundle.manifest.gate
    assert gate is not None
    assert gate.passed
    assert gate.thresholds == Thresholds.read(tmp_path / "thresholds.toml").digest
    assert 0.9 < (gate.numbers["velocity.cosine.low"] or 0) < 1  # it was not compared with itself
    assert (gate.numbers["velocity.confusion.low"] or 0) < 0.5  # the LoRAs are in the reference
    assert main(["inspect", str(bundle.path)]) == 0
    assert "gate       passed against" in capsys.readouterr().out


@pytest.mark.parametrize("replaces", [False, True])
def test_a_bundle_that_fails_does_not_appear(
    words: list[str],
    tiny_bundle: Bundle,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    replaces: bool,
) -> None:
    if replaces:
        shutil.copytree(tiny_bundle.path, tmp_path / "out")
    report = tmp_path / "report.html"
    words += ["--gate-against", str(tiny_bundle.path), "--gate-report", str(report)]
    assert main([*words, *thresholds(tmp_path, STRICT)]) == 5
    error = capsys.readouterr().err
    assert "FAILED  velocity.cosine.high" in error
    assert error.splitlines()[-1].startswith("wan-trt: error: the bundle is not as good as")
    assert "velocity.cosine.high" in report.read_text()
    kept = {"out"} if replaces else set()
    assert {path.name for path in tmp_path.iterdir()} == {*kept, report.name, "thresholds.toml"}
    if replaces:
        Bundle.open(tmp_path / "out").verify()
        assert Bundle.open(tmp_path / "out").manifest == tiny_bundle.manifest


def test_a_bundle_that_fails_is_kept_when_told_so(
    words: list[str], tiny_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_driven_sample(tmp_path / "samples" / "waving")
    (tmp_path / "samples" / "waving" / "request.toml").write_text("steps = 2\n")
    words += ["--gate-against", str(tiny_bundle.path), "--gate-inputs", str(tmp_path / "samples")]
    assert main([*words, "--allow-failed-gate", *thresholds(tmp_path, STRICT)]) == 0
    gate = Bundle.open(tmp_path / "out").manifest.gate
    assert gate is not None
    assert not gate.passed
    assert gate.failed == ("velocity.cosine.high", "velocity.cosine.low")
    assert gate.job["waving"]["steps"] == 2
    capsys.readouterr()
    assert main(["inspect", str(tmp_path / "out")]) == 0
    assert "gate       failed against" in capsys.readouterr().out


def test_without_a_gate_the_manifest_has_no_verdict_and_says_so(
    words: list[str], ungated: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--no-gate"]) == 0
    assert Bundle.open(tmp_path / "out").manifest == ungated.manifest
    assert ungated.manifest.gate is None
    capsys.readouterr()
    assert main(["inspect", str(tmp_path / "out")]) == 0
    assert "gate       none: no gate has judged this bundle" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--gate-inputs", "absent"], "--gate-inputs: absent cannot be read"),
        (["--gate-inputs", "short"], "--gate-inputs: sample waving: pose: 9 frames; expected at"),
        (["--gate-against", "absent"], "--gate-against: absent: no such file"),
        (["--gate-against", "i2v"], "has the model wan2.2-i2v-a14b; expected wan2.2-animate"),
        (["--boundary", "0.8", "--gate-against", "tiny"], "has the boundary 0.9; expected 0.8"),
        (["--gate-report", "absent/report.html"], "--gate-report: absent/report.html"),
        (["--thresholds", "absent"], "--thresholds: absent cannot be read"),
        (["--no-gate", "--gate-inputs", "short"], "--gate-inputs: given with --no-gate"),
        (["--no-gate", "--allow-failed-gate"], "--allow-failed-gate: given with --no-gate"),
        (["--precision", "bf16", "--no-gate"], "--no-gate: given at precision bf16"),
        (["--precision", "fp32", "--thresholds", "t"], "--thresholds: given at precision fp32"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_made(
    words: list[str],
    tiny_bundle: Bundle,
    i2v_bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_driven_sample(Path("short/waving"), frames=9)
    Path("tiny").symlink_to(tiny_bundle.path)
    Path("i2v").symlink_to(i2v_bundle.path)
    assert main([*words, *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "graph " not in error
    assert {path.name for path in tmp_path.iterdir()} == {"short", "tiny", "i2v"}
