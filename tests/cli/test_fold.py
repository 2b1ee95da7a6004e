"""`wan-trt fold`: experts, what it writes, what it reports, and what it refuses."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from lora_folding import random
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from wan_trt.cli.main import main

WIDTH, RANK = 8, 2
QUERY, KEYS = "blocks.0.self_attn.q.weight", "blocks.1.self_attn.k.weight"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Two blocks in bfloat16, an odd bias, an embedding in float32 and a table of integers."""
    tensors = {
        f"blocks.{i}.self_attn.{part}.weight": random(WIDTH, WIDTH, seed=i).bfloat16()
        for i in range(2)
        for part in "qk"
    }
    tensors |= {
        "blocks.0.self_attn.q.bias": random(WIDTH - 1).bfloat16(),
        "text_embedding.0.weight": random(WIDTH, 3),
        "table": torch.arange(3),
    }
    path = tmp_path / "base.safetensors"
    save_file(tensors, path, {"format": "pt", "author": "somebody"})
    return path


def _pair(module: str, seed: int = 1, width: int = WIDTH) -> dict[str, torch.Tensor]:
    return {
        f"{module}.lora_A.weight": random(RANK, width, seed=seed),
        f"{module}.lora_B.weight": random(width, RANK, seed=seed + 1),
    }


def _lora(folder: Path, name: str, tensors: Mapping[str, torch.Tensor]) -> str:
    path = folder / f"{name}.safetensors"
    save_file(dict(tensors), path)
    return str(path)


class Result(NamedTuple):
    code: int
    out: Path
    errors: str

    def changed(self, base: Path) -> set[str]:
        """Names of the tensors whose values are not the base's."""
        before, after = load_file(base), load_file(self.out)
        assert before.keys() == after.keys()
        same = {name for name in before if torch.equal(before[name].double(), after[name].double())}
        return before.keys() - same


class Fold:
    def __init__(self, base: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.base, self.folder, self._capsys = base, folder, capsys

    def __call__(self, *words: str, out: Path | None = None, base: Path | None = None) -> Result:
        out = out or self.folder / "out.safetensors"
        self._capsys.readouterr()
        code = main(["fold", str(base or self.base), "--out", str(out), *words])
        return Result(code, out, self._capsys.readouterr().err)


@pytest.fixture
def fold(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Fold:
    return Fold(base, tmp_path, capsys)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_what_is_written(fold: Fold, tmp_path: Path, dtype: str) -> None:
    tensors = _pair("diffusion_model.blocks.0.self_attn.q")
    result = fold("--lora", _lora(tmp_path, "a", tensors), "--dtype", dtype)
    assert result.code == 0, result.errors
    assert result.changed(fold.base) == {QUERY}
    before, after = load_file(fold.base), load_file(result.out)
    assert list(tmp_path.glob(".*")) == []
    wanted = {"fp32": torch.float32, "bf16": torch.bfloat16}[dtype]
    for name, tensor in after.items():
        assert tensor.dtype == (wanted if name == QUERY else before[name].dtype)
    a, b = tensors.values()
    torch.testing.assert_close(after[QUERY], (before[QUERY].float() + b @ a).to(wanted))
    with safe_open(result.out, "pt") as file:
        metadata = file.metadata()
    assert (metadata["format"], metadata["author"]) == ("pt", "somebody")
    assert json.loads(metadata["wan_trt.fold"])["files"][0]["file"] == "a.safetensors"


def test_without_a_lora_it_is_a_copy(fold: Fold) -> None:
    result = fold()
    assert result.code == 0
    assert result.changed(fold.base) == set()


def test_the_report(fold: Fold, tmp_path: Path) -> None:
    tensors = _pair("diffusion_model.blocks.0.self_attn.q") | _pair("vace_blocks.0.proj")
    tensors |= {"blocks.1.self_attn.k.diff": 10 * random(WIDTH, WIDTH, seed=5)}
    spec = _lora(tmp_path, "a", tensors) + ",strength=0.5,alpha=1"
    report = tmp_path / "report.json"
    result = fold("--lora", spec, "--allow-unmatched", "--report", str(report))
    assert result.code == 0, result.errors
    told = json.loads(report.read_text())
    assert (told["changed"], told["allow_unmatched"]) == (2, True)
    (file,) = told["files"]
    assert file["family"] == "comfyui"
    assert file["algorithms"] == ["full", "lora"]
    assert file["trained_for"] == f"Wan VACE, width {WIDTH}"
    assert len(file["matched_keys"]) == 3
    assert sorted(file["unmatched_keys"]) == sorted(_pair("vace_blocks.0.proj"))
    assert (file["modules_matched"], file["modules_expected"]) == (2, 3)
    module = file["modules"][QUERY]
    assert (module["rank"], module["alpha"], module["scale"]) == (RANK, 1.0, 0.25)
    ratios = file["block_norm_ratios"]
    assert ratios["blocks.0"] == pytest.approx(module["norm_ratio"])
    assert 3 < ratios["blocks.1"] < 7
    assert any("blocks.1 by more than" in warning for warning in file["warnings"])
    for part in ("comfyui", "2 of 3 modules", "vace_blocks.0.proj", "is alpha or strength right"):
        assert part in result.errors


def test_a_file_for_both_experts_is_divided(fold: Fold, tmp_path: Path) -> None:
    tensors = _pair("transformer.blocks.0.attn1.to_q") | _pair("transformer_2.blocks.1.attn1.to_k")
    spec = _lora(tmp_path, "both", tensors)
    for option in ("--lora", "--lora-high"):
        assert fold("--expert", "high", option, spec).changed(fold.base) == {QUERY}
    assert fold("--expert", "low", "--lora", spec).changed(fold.base) == {KEYS}
    single = fold("--lora", spec)
    assert single.code == 2
    assert "is for a second expert, and this model has one" in single.errors


def test_each_expert_gets_its_own_and_the_common_ones(fold: Fold, tmp_path: Path) -> None:
    words = [
        *("--lora", _lora(tmp_path, "all", {"text_embedding.0.diff": torch.ones(WIDTH, 3)})),
        *("--lora-high", _lora(tmp_path, "high", _pair("blocks.0.self_attn.q"))),
        *("--lora-low", _lora(tmp_path, "low", _pair("blocks.1.self_attn.k"))),
    ]
    common = "text_embedding.0.weight"
    assert fold("--expert", "high", *words).changed(fold.base) == {common, QUERY}
    assert fold("--expert", "low", *words).changed(fold.base) == {common, KEYS}
    refused = fold(*words, out=tmp_path / "new.safetensors")
    assert (refused.code, refused.out.exists()) == (2, False)
    assert "say which expert" in refused.errors


def test_transformer_alone_means_the_model_at_hand(fold: Fold, tmp_path: Path) -> None:
    spec = _lora(tmp_path, "one", _pair("transformer.blocks.0.attn1.to_q"))
    for words in (["--lora", spec], ["--expert", "low", "--lora-low", spec]):
        assert fold(*words).changed(fold.base) == {QUERY}


def test_a_file_that_is_all_for_the_other_expert(fold: Fold, tmp_path: Path) -> None:
    spec = _lora(tmp_path, "low", _pair("transformer_2.blocks.0.attn1.to_q"))
    shared = fold("--expert", "high", "--lora", spec)
    assert (shared.code, shared.changed(fold.base)) == (0, set())
    assert "all its keys are for the other expert" in shared.errors
    own = fold("--expert", "high", "--lora-high", spec)
    assert own.code == 2
    assert "unknown_module" in own.errors


def test_another_base_is_named(fold: Fold, tmp_path: Path) -> None:
    small = _lora(tmp_path, "5b", _pair("blocks.0.self_attn.q", width=3072))
    for options, kind in (((), "shape_mismatch"), (("--allow-unmatched",), "nothing_matched")):
        result = fold("--lora", small, *options)
        assert result.code == 2
        assert f"error: {kind}: " in result.errors
        assert "trained for a base of width 3072 (Wan2.2-TI2V-5B)" in result.errors


def _break(path: Path, how: str) -> Path:
    """A copy of a good base, spoilt."""
    spoilt = path.with_name("spoilt.safetensors")
    tensors: dict[str, Any] = load_file(path)
    if how == "truncated":
        spoilt.write_bytes(path.read_bytes()[:-1])
    elif how == "absent":
        pass
    elif how == "folder":
        spoilt.mkdir()
    elif how == "pickle":
        torch.save(tensors, spoilt)
    else:
        name, value = {
            "NaN": (QUERY, tensors[QUERY] * float("nan")),
            "NaN elsewhere": (KEYS, tensors[KEYS] * float("nan")),
            "fp8": (QUERY, tensors[QUERY].to(torch.float8_e4m3fn)),
            "no DiT": ("x", torch.ones(1)),
        }[how]
        save_file({name: value} if how == "no DiT" else tensors | {name: value}, spoilt)
    return spoilt


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("truncated", "needs? .* bytes of data"),
        ("absent", "No such file"),
        ("folder", "is a folder; expected one safetensors file"),
        ("pickle", "cannot be read"),
        ("NaN", f"{QUERY} of .* contains NaN"),
        ("NaN elsewhere", f"{KEYS} of .* contains NaN"),
        ("fp8", f"{QUERY} of .* has dtype F8_E4M3; expected .* before quantisation"),
        ("no DiT", "holds x; expected one Wan DiT with original names .* or those of diffusers"),
    ],
)
def test_bases_that_are_refused(fold: Fold, tmp_path: Path, how: str, message: str) -> None:
    spec = _lora(tmp_path, "a", _pair("blocks.0.self_attn.q"))
    base = _break(fold.base, how)
    files = set(tmp_path.iterdir())
    result = fold("--lora", spec, base=base)
    assert result.code == 2
    assert len(result.errors.splitlines()) == 1
    assert re.search(message, result.errors), result.errors
    assert set(tmp_path.iterdir()) == files


def test_outputs_that_are_refused(fold: Fold, tmp_path: Path) -> None:
    lora = _lora(tmp_path, "a", _pair("blocks.0.self_attn.q"))
    (tmp_path / "file").touch()
    before = fold.base.read_bytes()
    for out, message in (
        (tmp_path, "a folder; expected the name of a file"),
        (tmp_path / "absent" / "out.safetensors", "does not exist"),
        (tmp_path / "file" / "out.safetensors", "does not exist"),
        (fold.base, "one of the files that are read"),
        (Path(lora), "one of the files that are read"),
        (Path("/proc/out.safetensors"), "cannot be written|bytes and 0 are free|does not exist"),
    ):
        result = fold("--lora", lora, out=out)
        assert result.code in (2, 3)
        assert re.search(message, result.errors), result.errors
    assert fold.base.read_bytes() == before


def test_reports_that_are_refused(fold: Fold, tmp_path: Path) -> None:
    lora = _lora(tmp_path, "a", _pair("blocks.0.self_attn.q"))
    before = {path: path.read_bytes() for path in (fold.base, Path(lora))}
    for place, message in (
        (tmp_path / "absent" / "report.json", "does not exist"),
        (fold.base, "one of the files that are read"),
        (Path(lora), "one of the files that are read"),
        (tmp_path / "out.safetensors", "is --out; expected a file of its own"),
    ):
        result = fold("--lora", lora, "--report", str(place))
        assert (result.code, result.out.exists()) == (2, False)
        assert re.search(f"error: --report: .*{message}", result.errors), result.errors
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_report_replaces_another_whole(fold: Fold, tmp_path: Path) -> None:
    """A second name of the old file still shows it: the new one was not written over it."""
    report, kept = tmp_path / "report.json", tmp_path / "kept.json"
    report.write_text("old")
    kept.hardlink_to(report)
    assert fold("--report", str(report)).code == 0
    assert (json.loads(report.read_text())["changed"], kept.read_text()) == (0, "old")
    assert list(tmp_path.glob(".*")) == []


def test_a_full_disk_is_seen_before_writing(
    fold: Fold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = fold("--lora", _lora(tmp_path, "a", _pair("blocks.0.self_attn.q")))
    exact = done.out.stat().st_size
    done.out.unlink()
    for free, code in ((exact - 1, 3), (exact, 0)):
        usage = shutil.disk_usage(tmp_path)._replace(free=free)
        monkeypatch.setattr(shutil, "disk_usage", lambda _, usage=usage: usage)
        result = fold("--lora", str(tmp_path / "a.safetensors"))
        assert (result.code, result.out.exists()) == (code, code == 0)
        if code:
            assert f"needs {exact} bytes and {free} are free" in result.errors


def test_an_existing_output_is_replaced_only_by_a_complete_one(fold: Fold, tmp_path: Path) -> None:
    good = _lora(tmp_path, "good", _pair("blocks.0.self_attn.q"))
    first = fold("--lora", good).out.read_bytes()
    # Finite factors whose product overflows: found only while the output is written.
    huge = {name: tensor * 1e30 for name, tensor in _pair("blocks.1.self_attn.k").items()}
    failed = fold("--lora", good, "--lora", _lora(tmp_path, "huge", huge))
    assert failed.code == 2
    assert "non_finite" in failed.errors
    assert failed.out.read_bytes() == first
    assert list(tmp_path.glob(".*")) == []
    assert fold("--lora", good + ",strength=2").out.read_bytes() != first
