"""Contact sheets, and what importing the package loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from wan_trt.engine.errors import MediaError
from wan_trt.media import contact_sheet, read_image


def test_rows_of_thumbnails(tmp_path: Path) -> None:
    red = np.full((20, 40, 3), (255, 0, 0), np.uint8)
    blue = np.full((90, 30, 3), (0, 0, 255), np.uint8)
    path = tmp_path / "sheet.png"
    contact_sheet([("pose", [red, blue]), ("a longer label", [blue])], path, thumbnail_height=50)
    sheet = read_image(path)
    assert sheet.shape[0] == 4 + 2 * (20 + 50 + 4)
    assert (sheet == (255, 0, 0)).all(axis=2).sum() == 50 * 100
    assert (sheet == (0, 0, 255)).all(axis=2).sum() == 2 * 50 * 17
    assert list(tmp_path.iterdir()) == [path]


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="does not exist"):
        contact_sheet([("x", [np.zeros((4, 4, 3), np.uint8)])], tmp_path / "no" / "sheet.png")


def test_importing_loads_no_torch() -> None:
    script = "import sys, wan_trt.media; print(*{m.split('.')[0] for m in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": "tests/.path"},
        cwd=Path(__file__).parents[2],
    ).stdout.split()
    assert not {"torch", "tensorrt", "onnxruntime", "grpc", "cv2"} & set(loaded)
