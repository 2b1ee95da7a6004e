"""NaN and infinity in an adapter: refused before anything of the model is read or written."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from lora_folding import random
from safetensors.torch import save_file

from wan_trt.cli.main import main
from wan_trt.export.synthetic.checkpoint import T5_FILE
from wan_trt.export.synthetic.sizes import TINY

WIDTH = TINY.dim
MODULE = "blocks.1.self_attn.q"
GOOD = {
    f"{MODULE}.lora_A.weight": random(2, WIDTH),
    f"{MODULE}.lora_B.weight": random(WIDTH, 2),
    f"{MODULE}.lora_B.bias": random(WIDTH),
    f"{MODULE}.dora_scale": random(WIDTH, 1).abs(),
    f"{MODULE}.alpha": torch.tensor(1.0),
    "blocks.1.norm3.diff": random(WIDTH),
    "blocks.0.diff_m": random(1, 6, WIDTH),
}


@pytest.fixture
def good(tmp_path: Path) -> Path:
    save_file(GOOD, tmp_path / "good.safetensors")
    return tmp_path / "good.safetensors"


@pytest.fixture(params=GOOD)
def spoilt(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """A file with one number in one tensor that is none, and that tensor's key."""
    key: str = request.param
    tensor = GOOD[key].clone()
    tensor.view(-1)[-1] = torch.nan if tensor.ndim else torch.inf
    save_file(GOOD | {key: tensor}, tmp_path / "spoilt.safetensors")
    return tmp_path / "spoilt.safetensors", key


def _assert_refused(
    words: list[str], spoilt: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    path, key = spoilt
    assert main(words) == 2
    message = f"wan-trt: error: non_finite: {path}: {key} contains NaN or infinity"
    assert message in capsys.readouterr().err


def test_fold_reads_no_weights(
    good: Path, spoilt: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every tensor of the base is spoilt too: the first one read would be the error."""
    names = ("self_attn.q.weight", "self_attn.q.bias", "norm3.weight", "modulation")
    shapes = dict(zip(names, ((WIDTH, WIDTH), (WIDTH,), (WIDTH,), (1, 6, WIDTH)), strict=True))
    base = tmp_path / "base.safetensors"
    save_file(
        {
            f"blocks.{i}.{name}": torch.full(shape, torch.nan)
            for i in range(2)
            for name, shape in shapes.items()
        },
        base,
    )
    there = set(tmp_path.iterdir())
    words = ["fold", str(base), "--out", str(tmp_path / "out.safetensors")]
    for path in (good, spoilt[0]):
        words += ["--lora", str(path)]
    _assert_refused(words, spoilt, capsys)
    assert set(tmp_path.iterdir()) == there
    assert main([*words[:-1], str(good)]) == 2
    assert "base.safetensors contains NaN or infinity" in capsys.readouterr().err


def test_export_reads_no_weights(
    tiny_checkpoint: Path,
    good: Path,
    spoilt: tuple[Path, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The text encoder, which is written first, is spoilt too."""
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(tiny_checkpoint, checkpoint)
    tensors = torch.load(checkpoint / T5_FILE, weights_only=True)
    torch.save({n: torch.full_like(t, torch.nan) for n, t in tensors.items()}, checkpoint / T5_FILE)
    there = set(tmp_path.iterdir())
    words = ["export", str(checkpoint), "--out", str(tmp_path / "bundle")]
    words += ["--lora", str(good), "--lora-low", str(spoilt[0])]
    _assert_refused(words, spoilt, capsys)
    assert set(tmp_path.iterdir()) == there
