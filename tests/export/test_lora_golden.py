"""The golden set of adapters through `wan-trt fold`: every spelling seen for Wan, merged by the
libraries that write it, and files that must be refused."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from wan_trt.cli.main import main

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "reference" / "lora"
TOLERANCE = 2e-6  # absolute and relative, of the set's README


def _cases(listing: str) -> list[Any]:
    """All cases of a listing; none where the golden data is not beside the checkout."""
    path = FOLDER / listing
    cases = json.loads(path.read_text())["cases"] if path.is_file() else []
    return [pytest.param(case, id=case["id"]) for case in cases]


@dataclass
class Folding:
    """Folds a case's files into one of its bases with the command."""

    folder: Path
    capsys: pytest.CaptureFixture[str]

    @property
    def out(self) -> Path:
        return self.folder / "out.safetensors"

    def __call__(
        self, case: dict[str, Any], expert: str, *options: str, base: Path | None = None
    ) -> int:
        base = base or FOLDER / case["base"][expert]
        words = ["fold", str(base), "--out", str(self.out)]
        words += ["--report", str(self.folder / "report.json")]
        words += ["--expert", "single" if expert == "default" else expert]
        for lora in case["loras"]:
            option = f"--lora-{lora['expert']}" if "expert" in lora else "--lora"
            words += [option, _spec(lora)]
        return main([*words, *options])

    def errors(self) -> str:
        return self.capsys.readouterr().err

    def files(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads((self.folder / "report.json").read_text())["files"]
        return found


@pytest.fixture
def fold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Folding:
    return Folding(tmp_path, capsys)


def _spec(lora: dict[str, Any]) -> str:
    text = f"{FOLDER / lora['file']},strength={lora['strength']}"
    if lora.get("alpha") is not None:
        text += f",alpha={lora['alpha']}"
    if lora.get("adapter_config"):
        text += f",config={FOLDER / lora['adapter_config']}"
    return text


def _compare(out: Path, base: Path, expected: Path) -> None:
    """What is listed is within tolerance, what is not is the base's, bit by bit."""
    found, before, merged = load_file(out), load_file(base), load_file(expected)
    assert found.keys() == before.keys()
    for name, tensor in before.items():
        if name in merged:
            torch.testing.assert_close(
                found[name].float(), merged[name], atol=TOLERANCE, rtol=TOLERANCE
            )
        else:
            assert found[name].dtype == tensor.dtype
            assert torch.equal(found[name].view(torch.uint8), tensor.view(torch.uint8)), name


@pytest.mark.parametrize("case", _cases("cases.json"))
def test_merged_weights(fold: Folding, case: dict[str, Any]) -> None:
    matched = 0
    for expert, expected in case["expected"].items():
        assert fold(case, expert) == 0, fold.errors()
        _compare(fold.out, FOLDER / case["base"][expert], FOLDER / expected)
        for file in fold.files():
            assert file["unmatched_keys"] == []
            matched += len(file["matched_keys"])
    assert matched == case["matched_keys"]


@pytest.mark.parametrize("case", _cases("cases.json"))
def test_merged_weights_as_bfloat16(fold: Folding, case: dict[str, Any]) -> None:
    total = equal = 0
    for expert, expected in case["expected"].items():
        assert fold(case, expert, "--dtype", "bf16") == 0, fold.errors()
        found = load_file(fold.out)
        for name, merged in load_file(FOLDER / expected).items():
            rounded = merged.bfloat16()
            assert found[name].dtype == torch.bfloat16
            steps = _ordered(found[name]) - _ordered(rounded)
            assert steps.abs().max() <= 1, name
            total += steps.numel()
            equal += int((steps == 0).sum())
    assert equal >= 0.999 * total


def _ordered(tensor: torch.Tensor) -> torch.Tensor:
    """bfloat16 as integers in the order of the numbers: neighbours differ by one."""
    bits = tensor.view(torch.int16).to(torch.int32)
    return torch.where(bits < 0, -(bits & 0x7FFF), bits)


@pytest.mark.parametrize("case", _cases("cases.json"))
def test_a_base_with_diffusers_names(fold: Folding, shared: Path, case: dict[str, Any]) -> None:
    """The same numbers under the base's own names; what does not change is as it was."""
    listing = json.loads(
        (shared / "facts" / "names" / "map_original_to_diffusers.json").read_text()
    )
    for expert in case["expected"]:
        stored = _respelled(load_file(FOLDER / case["base"][expert]), listing)
        base = fold.folder / "base.safetensors"
        save_file(stored, base)
        assert fold(case, expert) == 0, fold.errors()
        wanted = _respelled(load_file(fold.out), listing)
        assert fold(case, expert, base=base) == 0, fold.errors()
        found = load_file(fold.out)
        assert found.keys() == stored.keys()
        for name, tensor in found.items():
            assert torch.equal(tensor.float(), wanted[name].float()), name
            changed = not torch.equal(tensor.float(), stored[name].float())
            assert tensor.dtype == (torch.float32 if changed else torch.bfloat16), name


def _respelled(
    tensors: dict[str, torch.Tensor], listing: dict[str, Any]
) -> dict[str, torch.Tensor]:
    """Under diffusers' names; a fused tensor is divided."""
    parts = {
        name: [listing[name]] if isinstance(listing[name], str) else listing[name]
        for name in tensors
    }
    return {
        part: share.contiguous()
        for name, tensor in tensors.items()
        for part, share in zip(parts[name], tensor.chunk(len(parts[name])), strict=True)
    }


@pytest.mark.parametrize("mode", ["strict", "report"])
@pytest.mark.parametrize("case", _cases("negative.json"))
def test_verdicts(fold: Folding, case: dict[str, Any], mode: str) -> None:
    marker = Path(tempfile.gettempdir()) / case.get("marker_file_in_temp_dir", "no.marker")
    marker.unlink(missing_ok=True)
    verdict = case["verdict"][mode]
    code = fold(case, "default", *(["--allow-unmatched"] if mode == "report" else []))
    errors = fold.errors()
    assert not marker.exists(), "a pickle was executed"
    if same := case.get("or_accept", {}).get("same_result_as_case"):
        assert code == 0, errors  # a pickle of tensors is read with a restricted unpickler
        _compare(
            fold.out, FOLDER / case["base"]["default"], FOLDER / "expected" / f"{same}.safetensors"
        )
    elif verdict["accept"]:
        assert code == 0, errors
        (file,) = fold.files()
        assert len(file["matched_keys"]) == verdict["matched_keys"]
        assert set(file["unmatched_keys"]) == set(verdict["unmatched_keys"])
        _compare(fold.out, FOLDER / case["base"]["default"], FOLDER / verdict["expected"])
    else:
        assert code == 2
        assert errors.startswith(f"wan-trt: error: {verdict['error']}: ")
        if verdict["keys"] and verdict["error"] != "bad_container":
            assert any(key in errors for key in verdict["keys"])
        assert list(fold.folder.iterdir()) == []
