"""The arena's benchmark runs without a GPU and says what its numbers belong to."""

from __future__ import annotations

import json
from pathlib import Path

import arena
import pytest


def test_every_case_of_the_host_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(arena, "PAGES", (1, 4))
    out = tmp_path / "arena.json"
    assert arena.main(["--turns", "50", "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    cases = [(timing["what"], timing["pages"]) for timing in result["host"]]
    assert cases == [
        ("lease and return", 1),
        ("lease and return", 4),
        ("every page touched", 1),
        ("every page touched", 4),
        ("handed on, and back", 4),
    ]
    assert all(0 < timing["lease_us"] <= timing["lease_p99_us"] for timing in result["host"])
    assert result["machine"]["processor"]
    assert "| lease and return | 4 |" in capsys.readouterr().out
