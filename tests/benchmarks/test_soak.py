"""The soak runs, counts how its jobs ended, and leaves nothing but results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soak
from toy_bundle import write_toy_bundle


def test_a_short_soak(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = write_toy_bundle(tmp_path / "bundle").path
    out = tmp_path / "soak.json"
    arguments = ["--jobs", "12", "--warm", "4", "--bundle", str(bundle), "--out", str(out)]
    assert soak.main(arguments) == 0
    result = json.loads(out.read_text())
    assert sum(result["ends"].values()) == 12
    assert result["ends"].keys() <= {"done", "cancelled"}
    assert result["ends"]["done"] > 0
    assert [sample["jobs"] for sample in result["samples"]][-1] == 12
    assert result["machine"]["processor"]
    assert "growth" in capsys.readouterr().out
