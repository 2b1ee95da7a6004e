"""The soak with kills runs, and its verdict follows from what it found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import serve_soak
from toy_bundle import write_toy_bundle


def test_a_short_soak_with_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_soak, "SERVER_LIVES_S", (1.0, 2.0))
    monkeypatch.setattr(serve_soak, "CLIENTS", 2)
    bundle = write_toy_bundle(tmp_path / "bundle").path
    out = tmp_path / "soak.json"
    arguments = ["--minutes", "0.05", "--bundle", str(bundle), "--out", str(out)]
    assert serve_soak.main(arguments) == 0
    result = json.loads(out.read_text())
    assert result["kills"]["servers"] >= 1
    assert result["accepted"] == sum(result["ends"].values()) > 0
    assert result["ends"].keys() <= {"as expected", "forgotten"}
    assert not any(result["left"].values())


def test_a_job_with_other_bytes_is_told() -> None:
    told = {"accepted": {"0-1-1": "job"}, "fetching": {}, "fetched": {"0-1-1": "other"}}
    end = serve_soak._end(None, told, "0-1-1", ["right"])  # type: ignore[arg-type]
    assert end == "mp4: other bytes, fetched"
