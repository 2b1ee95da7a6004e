"""The benchmark of what is kept writes what a server writes."""

from __future__ import annotations

import json
from pathlib import Path

import keeping
import pytest


def test_each_thing_that_is_kept_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(keeping, "SIZES", ((32, 48),))
    out = tmp_path / "keeping.json"
    assert keeping.main(["--turns", "1", "--frames", "5", "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    assert [row["what"] for row in result["rows"]] == [
        "checkpoint 48x32",
        "frames 48x32",
        "event",
    ]
    assert result["rows"][0]["nbytes"] == 4 * (4 * 16 * 3 * 4 * 6 + 3 * 32 * 48)
    assert all(row["seconds"] > 0 for row in result["rows"])
    assert result["machine"]["processor"]
    assert "checkpoint 48x32" in capsys.readouterr().out
