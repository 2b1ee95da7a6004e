"""`generate` on a bundle with two experts: which options it takes, and what comes out."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wan_trt.cli.main import main
from wan_trt.engine.bundle import Bundle
from wan_trt.media import open_frames


@pytest.fixture
def hero(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "hero.png")
    return tmp_path / "hero.png"


SMALL = ("--frames", "5", "--area", "1536", "--steps", "2")


def _generate(bundle: Bundle, hero: Path, *options: str) -> int:
    out = str(hero.parent / "out.mp4")
    return main(["generate", str(bundle.path), "--reference", str(hero), *options, "--out", out])


def test_a_video_at_the_models_own_rate(i2v_bundle: Bundle, hero: Path) -> None:
    options = (*SMALL, "--last-frame", str(hero), "--guidance", "3.5,1")
    assert _generate(i2v_bundle, hero, *options) == 0
    video = open_frames(hero.parent / "out.mp4")
    assert (video.count, video.height, video.width) == (5, 32, 48)
    assert video.rate == Fraction(16)
    video.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--pose", "pose.mp4"), "--pose: given, but the bundle holds wan2.2-i2v-a14b"),
        (("--mode", "animate"), "--mode: given, but"),
        (("--overlap", "1"), "--overlap: given, but"),
        (("--last-frame", "/nowhere/last.png"), "--last-frame: /nowhere"),
        (("--last-frame", "HERO", "--frames", "1"), "; ask for a longer video, or leave the"),
        (("--frames", "8"), "--frames: 8 frames; expected 4n+1"),
        (("--area", "10"), "--area: 10; expected"),
        (("--guidance", "1,2,3"), "--guidance: '1,2,3'; expected"),
    ],
)
def test_options_that_are_refused(
    i2v_bundle: Bundle,
    hero: Path,
    options: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [str(hero) if option == "HERO" else option for option in options]
    assert _generate(i2v_bundle, hero, *words) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert [file.name for file in hero.parent.iterdir()] == ["hero.png"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "--pose: missing; expected a video: the bundle holds wan2.2-animate, which"),
        (SMALL, "--frames: given, but the bundle holds wan2.2-animate"),
        (("--last-frame", "last.png"), "--last-frame: given, but"),
    ],
)
def test_options_that_animate_needs_or_refuses(
    tiny_bundle: Bundle,
    hero: Path,
    options: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _generate(tiny_bundle, hero, *options) == 2
    assert message in capsys.readouterr().err


def test_inspect_names_the_model(i2v_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(i2v_bundle.path), "--verify"]) == 0
    shown = capsys.readouterr().out
    assert "wan2.2-i2v-a14b" in shown
    assert "circle_high.safetensors" in shown
    assert re.search(r"denoiser: high \d+ tensors \(.* MB float32, \d+ folded\), low ", shown)
    assert "face" not in shown


def test_inspect_tells_how_a_tensor_was_made(
    i2v_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    pattern = "denoiser/blocks.1.ffn.0.*"
    assert main(["inspect", str(i2v_bundle.path), "--tensors", pattern]) == 0
    shown = capsys.readouterr().out
    made = shown[shown.index("denoiser/blocks.1") :]
    for expert in ("high", "low"):
        weight, bias = (
            i2v_bundle.manifest.graphs["denoiser"].weights[expert][f"blocks.1.ffn.0.{leaf}"]
            for leaf in ("weight", "bias")
        )
        assert f"denoiser/blocks.1.ffn.0.weight [{expert}] float32 {list(weight.shape)}" in made
        assert f"sha256  {weight.sha256}" in made
        assert f"sha256  {bias.sha256}" in made
        assert f"from    dit.{expert}: blocks.1.ffn.0.weight" in made
        assert f"+ lora  circle_{expert}.safetensors, scale 0.03125: lora_unet_" in made
    assert "blocks.0" not in made
    assert made.count("+ lora") == 2  # no LoRA has biases
