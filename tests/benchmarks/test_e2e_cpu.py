"""The comparison with diffusers compares the same thing: both sides show the same video."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "e2e_cpu.py"
SMALL = {"dim": 128, "layers": 5, "height": 64, "width": 48, "frames": 9, "steps": 2}


@pytest.mark.slow
@pytest.mark.skipif(find_spec("diffusers") is None, reason="needs the extra `benchmark`")
@pytest.mark.parametrize("prompt", [(), ("--prompt", "a person is waving")])
def test_both_sides_show_the_same_video(tmp_path: Path, prompt: tuple[str, ...]) -> None:
    sizes = [part for name, value in SMALL.items() for part in (f"--{name}", str(value))]
    out = tmp_path / "result.json"
    command = [sys.executable, str(SCRIPT), *sizes, *prompt, "--repeats", "1", "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests" / ".path")}
    finished = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=540
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    result = json.loads(out.read_text())
    assert result["psnr_db"] > 80
    for side in ("diffusers", "bundle"):
        assert result[side]["total_s"] > 0
        assert (result[side]["stages_s"]["text encoder"] > 0) == bool(prompt)
