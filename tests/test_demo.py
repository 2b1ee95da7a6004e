"""`make demo` does the main job from a checkpoint to a video, within its memory."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wan_trt.media import open_frames, read_image

ROOT = Path(__file__).resolve().parents[1]
MAX_PEAK_MB = 2000


@pytest.mark.slow
def test_the_demo_animates_the_photograph(tmp_path: Path) -> None:
    pytest.importorskip("skimage", reason="the demo's photograph comes with the extra `demo`")
    path = f"{ROOT / 'tests' / '.path'}:{ROOT / 'benchmarks'}"
    code = f"import sys; sys.path[:0] = {path!r}.split(':'); import demo; demo.main()"
    result = subprocess.run(
        [sys.executable, "-c", code, "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert "made up" in result.stdout
    peaks = [int(found) for found in re.findall(r"(\d+) MB$", result.stdout, re.MULTILINE)]
    assert len(peaks) > 5
    assert max(peaks) <= MAX_PEAK_MB

    video = open_frames(tmp_path / "out.mp4")
    first = video.read(0, 1)[0].astype(float)
    reference = read_image(tmp_path / "reference.png").astype(float)
    video.close()
    height, width = first.shape[:2]
    shrunk = np.asarray(Image.fromarray(reference.astype(np.uint8)).resize((width, height)), float)
    assert np.corrcoef(first.ravel(), shrunk.ravel())[0, 1] > 0.5  # the astronaut is to be seen
    assert read_image(tmp_path / "sheet.png").shape[1] > 500
