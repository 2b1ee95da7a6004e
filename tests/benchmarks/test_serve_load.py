"""The load benchmark measures what it says, on a toy."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
import serve_load
from counted_server import Counts, Part, Reading
from serving_share import Shape
from toy_bundle import write_toy_bundle

from wan_trt.server.submission import OutputFormat


def test_every_number_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = [(2, OutputFormat.MP4)]
    shape = Shape((0, 2), 1, 5, 1, large, 2, large_frames=5, large_height=64, large_width=64)
    monkeypatch.setattr(serve_load, "SHAPE", shape)
    bundle = write_toy_bundle(tmp_path / "bundle").path
    out = tmp_path / "load.json"
    arguments = ["--clients", "1", "2", "--megabytes", "2", "--bundle", str(bundle)]
    assert serve_load.main([*arguments, "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    assert [row["clients"] for row in result["latencies"]] == [1, 2]
    assert all(row["submit_p99_ms"] >= row["submit_median_ms"] > 0 for row in result["latencies"])
    assert all(row["megabytes_s"] > 0 for row in result["fetch"])
    assert result["memory"]["jobs"] == 2
    serving = result["serving"]
    assert [row["watchers"] for row in serving["small"]] == [0, 2]
    assert [row["watchers"] for row in serving["real"]] == [0, 2]
    assert [row["events"] > 0 for row in serving["small"]] == [False, True]
    (large,) = serving["large"]
    assert all(ms > 0 for ms in large["ms_by_part"].values()), "every part was seen at work"


def test_a_part_within_another_is_counted_once(tmp_path: Path) -> None:
    counts = Counts(tmp_path / "counts")
    keeping = counts.counted(lambda: _busy(0.03), lambda: Part.KEEPING)

    def step() -> None:
        _busy(0.01)
        keeping()
        keeping()

    before = time.thread_time()
    counts.counted(step, lambda: Part.STEPPING)()
    took_ms = 1000 * (time.thread_time() - before)
    ms = Reading.of(os.getpid(), tmp_path / "counts").ms
    assert ms[Part.KEEPING] >= 60
    assert ms[Part.STEPPING] >= 10
    assert ms[Part.KEEPING] + ms[Part.STEPPING] <= took_ms
    assert ms[Part.CALLS] > 0, "what this process did before"


def _busy(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass
