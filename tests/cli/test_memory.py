"""Memory does not grow with the length of a video."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from wan_trt.engine.bundle import Bundle

SEGMENT_FRAMES = 77
ALLOWED_GROWTH_BYTES = 50e6

# Not getrusage: what it says of a child begins with the peak of the process that started it.
_RUN = """
import sys
from pathlib import Path
sys.path.insert(0, {path!r})
from wan_trt.cli.main import main
assert main(sys.argv[1:]) == 0
status = Path("/proc/self/status").read_text()
print("peak", 1024 * int(status.split("VmHWM:")[1].split()[0]))
"""


def _peak_bytes(bundle: Bundle, folder: Path, frames: int) -> int:
    """Peak resident memory of a process that makes `frames` frames."""
    generator = np.random.default_rng(0)
    tensors = {
        "pose": (frames, 32, 48, 3),
        "face": (frames, 32, 32, 3),
        "reference": (1, 32, 48, 3),
    }
    options = []
    for name, shape in tensors.items():
        file = folder / f"{name}.{frames}.safetensors"
        save_file({"frames": generator.integers(0, 256, shape, dtype=np.uint8)}, file)
        options += [f"--{name}", str(file)]
    out = folder / f"out.{frames}.mp4"
    command = ["generate", str(bundle.path), *options, "--steps", "1", "--out", str(out)]
    path = str(Path(__file__).resolve().parents[1] / ".path")
    result = subprocess.run(
        [sys.executable, "-c", _RUN.format(path=path), *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    return int(result.stdout.split("peak ")[1])


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's VmHWM")
def test_ten_times_the_frames_need_no_more_memory(tiny_bundle: Bundle, tmp_path: Path) -> None:
    short = _peak_bytes(tiny_bundle, tmp_path, SEGMENT_FRAMES)
    long = _peak_bytes(tiny_bundle, tmp_path, 10 * SEGMENT_FRAMES)
    assert long - short <= ALLOWED_GROWTH_BYTES, (long - short) / 1e6
