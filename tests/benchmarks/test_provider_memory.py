"""The benchmark of the CUDA provider's memory, on a small model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from provider import silent_libraries

ROOT = Path(__file__).resolve().parents[2]


def test_each_graph_has_a_row(tmp_path: Path) -> None:
    if not silent_libraries.is_installed():
        pytest.skip("needs onnxruntime-gpu in build/, as make test puts it")
    out = tmp_path / "memory.json"
    script = str(ROOT / "benchmarks" / "provider_memory.py")
    asked = ["--tiny", "--precision", "fp8", "--size", "96x64x5", "--out", str(out)]
    command = [sys.executable, script, *asked]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    [measured] = json.loads(out.read_text())
    rows = {row["graph"]: row for row in measured["rows"]}
    assert len(rows) == 12
    for name, row in rows.items():
        assert row["weights_nbytes"] > 0
        assert row["kernels"] > 0
        assert row["peak_nbytes"] <= row["first_peak_nbytes"] * 1.2
        assert (row["kept_nbytes"] > 0) == (name == "denoiser")
    assert "| denoiser | 96x64 |" in done.stdout
