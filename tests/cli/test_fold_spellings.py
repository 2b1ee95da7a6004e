"""`wan-trt fold` into files whose names are not the original ones: they keep their own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from lora_folding import random
from safetensors.torch import load_file, save_file

from wan_trt.cli.main import main
from wan_trt.export.layouts.detect import detect
from wan_trt.export.synthetic.comfyui import Fp8, write_comfyui
from wan_trt.export.synthetic.diffusers import write_diffusers

Tensors = Mapping[str, torch.Tensor]

FUSED = "face_adapter.fuser_blocks.0.linear1_kv.weight"
HALVES = ("face_adapter.0.to_k.weight", "face_adapter.0.to_v.weight")
STEM = "motion_encoder.enc.net_app.convs.0.1.bias"  # [1, C, 1, 1] here, [C] in diffusers
TABLE = "blocks.1.modulation"


class Bases:
    """`tiny_checkpoint`'s DiT in one file of each spelling."""

    def __init__(self, checkpoint: Path, folder: Path) -> None:
        layout = detect(checkpoint)
        dit = "diffusion_pytorch_model.safetensors"
        self.diffusers = write_diffusers(folder / "d", layout, shards=1) / "transformer" / dit
        self.original = _only(write_comfyui(folder / "o", layout) / "diffusion_models")
        prefix = "model.diffusion_model."
        inner = write_comfyui(folder / "p", layout, prefix=prefix) / "diffusion_models"
        self.prefixed = _only(inner)
        scaled = write_comfyui(folder / "s", layout, prefix=prefix, fp8=Fp8()) / "diffusion_models"
        self.scaled = _only(scaled)


def _only(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


@pytest.fixture(scope="module")
def bases(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Bases:
    return Bases(tiny_checkpoint, tmp_path_factory.mktemp("bases"))


def _fold(base: Path, folder: Path, lora: Tensors, *options: str) -> dict[str, torch.Tensor]:
    adapter, out = folder / "lora.safetensors", folder / f"{base.stem}.folded"
    save_file(dict(lora), adapter)
    assert main(["fold", str(base), "--out", str(out), "--lora", str(adapter), *options]) == 0
    return load_file(out)


def _assert_untouched(found: Tensors, base: Path, but: set[str]) -> None:
    """Same names, and outside of `but` the same bytes."""
    before = load_file(base)
    assert found.keys() == before.keys()
    for name in before.keys() - but:
        assert found[name].dtype == before[name].dtype
        assert torch.equal(_bytes(found[name]), _bytes(before[name])), name


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.reshape(-1).view(torch.uint8)


def _full_changes(base: Path, *names: str) -> dict[str, torch.Tensor]:
    """Adapter keys that change these tensors of the original-named `base` in full."""
    tails = {"weight": "diff", "bias": "diff_b", "modulation": "diff_m"}
    shapes = {name: tensor.shape for name, tensor in load_file(base).items()}
    found = {}
    for seed, name in enumerate(names):
        module, _, leaf = name.rpartition(".")
        found[f"diffusion_model.{module}.{tails[leaf]}"] = random(*shapes[name], seed=seed)
    return found


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_a_change_to_what_diffusers_divides_and_reshapes(
    bases: Bases, tmp_path: Path, dtype: str
) -> None:
    lora = _full_changes(bases.original, FUSED, STEM, TABLE)
    wanted = _fold(bases.original, tmp_path, lora, "--dtype", dtype)
    found = _fold(bases.diffusers, tmp_path, lora, "--dtype", dtype)
    stem, table = "motion_encoder.conv_in.act_fn.bias", "blocks.1.scale_shift_table"
    _assert_untouched(found, bases.diffusers, {*HALVES, stem, table})
    for name, tensor in zip(HALVES, wanted[FUSED].chunk(2), strict=True):
        assert torch.equal(found[name], tensor)
        assert found[name].dtype == tensor.dtype
    assert torch.equal(found[stem], wanted[STEM].flatten())
    assert torch.equal(found[table], wanted[TABLE])


@pytest.mark.parametrize("half", [0, 1])
def test_the_other_half_stays_as_it_was(bases: Bases, tmp_path: Path, half: int) -> None:
    change = random(*load_file(bases.diffusers)[HALVES[half]].shape)
    lora = {f"transformer.{HALVES[half].removesuffix('.weight')}.diff": change}
    found = _fold(bases.diffusers, tmp_path, lora)
    _assert_untouched(found, bases.diffusers, {HALVES[half]})
    before = load_file(bases.diffusers)[HALVES[half]]
    assert torch.equal(found[HALVES[half]], before.float() + change)


def test_a_file_with_everything_keeps_its_prefixes(bases: Bases, tmp_path: Path) -> None:
    lora = _full_changes(bases.original, FUSED, TABLE)
    wanted = _fold(bases.original, tmp_path, lora)
    base = tmp_path / "all.safetensors"
    beside = {"vae.conv1.weight": random(3), "text_encoders.umt5xxl.logit_scale": torch.ones(())}
    save_file(load_file(bases.prefixed) | beside, base)
    found = _fold(base, tmp_path, lora)
    prefix = "model.diffusion_model."
    _assert_untouched(found, base, {prefix + FUSED, prefix + TABLE})
    for name in (FUSED, TABLE):
        assert torch.equal(found[prefix + name], wanted[name])


def test_scaled_weights_are_refused_and_what_lies_beside_them_is_not(
    bases: Bases, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = _fold(bases.scaled, tmp_path, _full_changes(bases.original, TABLE))
    _assert_untouched(found, bases.scaled, {f"model.diffusion_model.{TABLE}"})
    adapter, out = tmp_path / "scaled.safetensors", tmp_path / "out.safetensors"
    save_file(_full_changes(bases.original, "blocks.0.ffn.0.weight"), adapter)
    words = ["fold", str(bases.scaled), "--out", str(out), "--lora", str(adapter)]
    capsys.readouterr()
    assert main(words) == 2
    message = capsys.readouterr().err
    assert "model.diffusion_model.blocks.0.ffn.0.weight of " in message
    assert "has dtype F8_E4M3" in message
    assert "fold into the weights from before quantisation" in message
    assert not out.exists()


def test_a_file_with_two_dits_is_refused(
    bases: Bases, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, out = tmp_path / "two.safetensors", tmp_path / "out.safetensors"
    save_file(load_file(bases.original) | load_file(bases.prefixed), base)
    assert main(["fold", str(base), "--out", str(out)]) == 2
    assert "holds 2 DiTs; expected one Wan DiT" in capsys.readouterr().err
    assert not out.exists()
