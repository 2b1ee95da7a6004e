"""The benchmark of FP8's errors runs on a small model, and its cases differ as they should."""

from __future__ import annotations

import json
from pathlib import Path

import fp8_error
import pytest
from calibration_samples import write_small_sample

from wan_trt.export.quantize.policy import Policy


def test_each_case_is_measured(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_small_sample(tmp_path / "samples" / "one")
    out = tmp_path / "out.json"
    words = [str(tiny_checkpoint), str(tmp_path / "samples"), "--out", str(out)]
    assert fp8_error.main([*words, "--cases", "wide", "wide, nothing fitted"]) == 0
    result = json.loads(out.read_text())
    assert (result["samples"], result["jobs"]) == (["one"], ["made up"])
    assert list(result["cases"]) == ["wide", "wide, nothing fitted"]
    wide, plain = result["cases"].values()
    for expert in ("high", "low"):
        assert 0 < wide[expert]["squared_error"] < plain[expert]["squared_error"]
        assert 0.9 < wide[expert]["cosine_least"] < 1
    assert 0.3 < wide["share_of_bf16"] < 1
    assert "| wide | 56 |" in capsys.readouterr().out


def test_a_model_without_faces_has_fewer_cases() -> None:
    linears = ["blocks.0.ffn.0", "blocks.0.cross_attn.k", "blocks.0.cross_attn.v"]
    cases = fp8_error.policies(linears)
    assert list(cases) == [
        "wide",
        "wide, contexts high",
        "text context",
        "attention alone",
        "wide and attention",
    ]
    for name, text in cases.items():
        applied = Policy.parse(text, name).apply({"denoiser": linears}, 1)
        assert bool(applied.attention) == ("attention" in name)
