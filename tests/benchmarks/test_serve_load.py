"""The load benchmark measures what it says, on a toy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import serve_load
from toy_bundle import write_toy_bundle


def test_every_number_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_load, "STEPS", 5)
    bundle = write_toy_bundle(tmp_path / "bundle").path
    out = tmp_path / "load.json"
    arguments = ["--clients", "1", "2", "--megabytes", "2", "--bundle", str(bundle)]
    assert serve_load.main([*arguments, "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    assert [row["clients"] for row in result["latencies"]] == [1, 2]
    assert all(row["submit_p99_ms"] >= row["submit_median_ms"] > 0 for row in result["latencies"])
    assert all(row["megabytes_s"] > 0 for row in result["fetch"])
    assert [row["watchers"] for row in result["serving"]] == [0, 1, 8]
    events = [row["events"] for row in result["serving"]]
    assert events[2] == 8 * events[1] > 0
    assert result["memory"]["jobs"] == 2
