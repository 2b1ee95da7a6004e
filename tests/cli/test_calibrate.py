"""`wan-trt calibrate` as a user types it, on a checkpoint whose experts differ by their LoRAs."""

from __future__ import annotations

from pathlib import Path

import pytest
from calibration_samples import write_small_sample

from wan_trt.cli.main import main
from wan_trt.engine.bundle import Bundle, sha256_file
from wan_trt.engine.request import ExpertName
from wan_trt.export.lora.spec import LoraStacks
from wan_trt.export.quantize.policy import Policy
from wan_trt.export.quantize.rounding import Rounding
from wan_trt.export.quantize.scales import LoraUse, Scales


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    write_small_sample(tmp_path / "inputs" / "one")
    return tmp_path / "inputs"


def test_scales_belong_to_the_checkpoint_and_its_loras(
    tiny_checkpoint: Path,
    tiny_loras: LoraStacks,
    tiny_bundle: Bundle,
    inputs: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out" / "tiny.scales"
    out.parent.mkdir()
    both, high, low = (spec.path for [spec] in (tiny_loras.both, tiny_loras.high, tiny_loras.low))
    words = ["calibrate", str(tiny_checkpoint), "--inputs", str(inputs), "--out", str(out)]
    words += ["--lora", f"{both},strength=0.5", "--lora-high", str(high), "--lora-low", str(low)]
    words += ["--policy", "narrow", "--method", "percentile", "--percentile", "99.9"]
    words += ["--reuse", str(tiny_bundle.path), "--boundary", "0.95"]
    assert main(words) == 0
    assert list(out.parent.iterdir()) == [out]

    scales = Scales.read(out)
    origin = scales.origin
    assert origin.loras == {
        "high": (LoraUse(sha256_file(both), 0.5), LoraUse(sha256_file(high), 1.0)),
        "low": (LoraUse(sha256_file(both), 0.5), LoraUse(sha256_file(low), 1.0)),
    }
    assert origin.checkpoint == {
        name: source.sha256 for name, source in tiny_bundle.manifest.provenance.checkpoint.items()
    }
    assert (origin.method, origin.boundary) == ("percentile 99.9", 0.95)
    assert origin.policy == Policy.read("narrow").digest
    parts = ("cross_attn.o", "cross_attn.q", "ffn.0", "ffn.2")
    modules = {f"blocks.{block}.{part}" for block in range(4) for part in parts}
    scales.require(origin, Rounding.of_graph("denoiser", modules))
    assert scales.ranges[ExpertName.HIGH] != scales.ranges[ExpertName.LOW]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--search"], "--budget: missing"),
        (["--budget", "1"], "--budget: given without --search"),
        (["--calls", "2"], "--calls: given without --search"),
        (["--percentile", "99"], "--percentile: 99.0 with the method max"),
        (["--method", "percentile", "--percentile", "0"], "--percentile: 0.0 with the method"),
        (["--policy", "absent.toml"], "--policy: the policy absent.toml cannot be read"),
        (["--boundary", "2"], "boundary is 2.0"),
        (["--search", "--budget", "-1"], "--budget: -1.0; expected a number above 0"),
        (["--inputs", "absent"], "--inputs: absent cannot be read"),
    ],
)
def test_options_that_make_no_sense(
    tiny_checkpoint: Path,
    inputs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    out = tmp_path / "scales"
    words = ["calibrate", str(tiny_checkpoint), "--inputs", str(inputs), "--out", str(out)]
    assert main([*words, *options]) == 2
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inputs"]


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("inputs/one/pose.safetensors", "inputs, which is read as --inputs"),
        ("inputs/new.scales", "inputs, which is read as --inputs"),
        ("own.toml", "own.toml is read as --policy"),
        ("lora.safetensors", "lora.safetensors is read as --lora "),
        ("linked.scales", "linked.scales is read as --inputs "),
        ("CHECKPOINT/new.scales", "which is read as CHECKPOINT"),
        ("BUNDLE/manifest.json", "which is read as --reuse "),
    ],
)
def test_an_output_that_is_read(
    tiny_checkpoint: Path,
    tiny_bundle: Bundle,
    tiny_loras: LoraStacks,
    inputs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    out: str,
    message: str,
) -> None:
    [lora] = tiny_loras.both
    (tmp_path / "lora.safetensors").symlink_to(lora.path)
    (tmp_path / "linked.scales").hardlink_to(inputs / "one" / "face.safetensors")
    (tmp_path / "own.toml").write_text('[[linear]]\nmodules = ["*"]\nprecision = "fp8"\n')
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    place = out.replace("CHECKPOINT", str(tiny_checkpoint)).replace("BUNDLE", str(tiny_bundle.path))
    words = ["calibrate", str(tiny_checkpoint), "--inputs", str(inputs)]
    words += ["--out", str(tmp_path / place), "--policy", str(tmp_path / "own.toml")]
    words += ["--lora", str(lora.path), "--reuse", str(tiny_bundle.path)]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("wan-trt: error: --out: ")
    assert message in error
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    tiny_bundle.verify()


def test_an_expert_that_no_sample_runs(
    tiny_checkpoint: Path,
    tiny_bundle: Bundle,
    inputs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["calibrate", str(tiny_checkpoint), "--inputs", str(inputs), "--boundary", "0.1"]
    words += ["--out", str(tmp_path / "scales"), "--reuse", str(tiny_bundle.path)]
    assert main(words) == 2
    assert "no sample has a step of the low-noise expert" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inputs"]
