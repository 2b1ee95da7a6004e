"""Golden LoRA files in musubi spelling: merged weights, and files that must be refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from wan_trt.engine.errors import LoraError
from wan_trt.export.checkpoint import ShardedTensors
from wan_trt.export.lora.fold import FoldedTensors, read_files
from wan_trt.export.lora.spec import LoraSpec

MERGED = (
    "04a_musubi_full",
    "04b_musubi_partial",
    "04c_musubi_no_alpha",
    "04d_circle_rotate_like",
    "21a_rslora_baked_alpha",
    "22b_negative_alpha",
    "31b_alpha_zero",
)
PARTLY_FOREIGN = ("flattened_block_number", "text_encoder_keys")
REFUSED = (
    "sdxl_lora",
    "lfs_pointer",
    "html_page",
    "pickle_as_safetensors",
    "truncated_data",
    "trailing_bytes",
    "header_is_list",
    "duplicate_header_key",
    "unknown_dtype",
    "no_tensors",
    "only_metadata",
    "zero_bytes",
)


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "reference" / "lora"


def _case(folder: Path, listing: str, name: str) -> dict[str, Any]:
    cases = json.loads((folder / listing).read_text())["cases"]
    found: dict[str, Any] = next(case for case in cases if case["id"] == name)
    return found


def _fold(
    folder: Path, case: dict[str, Any], expert: str, *, allow_unmatched: bool = False
) -> FoldedTensors:
    model = ShardedTensors([folder / case["base"][expert]])
    specs = [
        LoraSpec(folder / lora["file"], float(lora["strength"]))
        for lora in case["loras"]
        if lora.get("expert", expert) == expert
    ]
    return FoldedTensors(model, read_files(specs, model, allow_unmatched=allow_unmatched))


@pytest.mark.parametrize("name", MERGED)
def test_merged_weights(folder: Path, name: str) -> None:
    case = _case(folder, "cases.json", name)
    for expert, file in case["expected"].items():
        folded, expected = _fold(folder, case, expert), load_file(folder / file)
        assert set(folded.targets) == set(expected)
        for target, tensor in expected.items():
            torch.testing.assert_close(folded.read(target), tensor, atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize("name", PARTLY_FOREIGN)
def test_foreign_modules_beside_good_ones(folder: Path, name: str) -> None:
    case = _case(folder, "negative.json", name)
    with pytest.raises(LoraError):
        _fold(folder, case, "default")
    folded = _fold(folder, case, "default", allow_unmatched=True)
    expected = load_file(folder / case["verdict"]["report"]["expected"])
    for target, tensor in expected.items():
        torch.testing.assert_close(folded.read(target), tensor, atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_must_be_refused(folder: Path, name: str) -> None:
    case = _case(folder, "negative.json", name)
    for allow_unmatched in (False, True):
        with pytest.raises(LoraError):
            _fold(folder, case, "default", allow_unmatched=allow_unmatched)
