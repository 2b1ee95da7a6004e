"""The preprocessing's benchmark walks through every pass and says what its numbers belong to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import preprocess


def test_every_pass_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(preprocess, "HEIGHT", 96)
    monkeypatch.setattr(preprocess, "WIDTH", 128)
    out = tmp_path / "preprocess.json"
    assert preprocess.main(["--frames", "11", "--out", str(out), "--beside", "tests"]) == 0
    result = json.loads(out.read_text())
    assert [(one["mode"], one["what"]) for one in result["passes"]] == [
        ("animate", "track"),
        ("animate", "draw"),
        ("animate", "draw, preview"),
        ("replace", "track"),
        ("replace", "segment"),
        ("replace", "draw"),
        ("replace", "draw, preview"),
    ]
    for one in result["passes"]:
        assert one["frames"] == 11
        assert one["frames_per_s"] > 0
        assert one["settled_mb"] <= one["peak_mb"]
    assert result["beside"] == "tests"
    assert "| replace | segment" in capsys.readouterr().out
