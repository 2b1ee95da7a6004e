"""Places for results are tried before the work, and nothing half-written is left behind."""

from __future__ import annotations

import errno
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import wan_trt.cli.inspect
from wan_trt.cli.main import main
from wan_trt.engine.errors import MediaError
from wan_trt.engine.frames import ArrayFrames
from wan_trt.media import open_sink
from wan_trt.media.reader import LocalMedia


class BreakingDriver(ArrayFrames):
    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        if stop > 10:
            raise MediaError("the driver breaks off")
        return super().read(start, stop)


@pytest.fixture
def preparation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A `preprocess` of twelve frames whose driver is read from memory."""
    points = [[[20 + k % 12, 10 + k // 12, 1.0] for k in range(133)]] * 12
    track = {"schema": "coco-wholebody-133/1", "width": 64, "height": 48, "fps": [24, 1]}
    (tmp_path / "track.json").write_text(json.dumps(track | {"num_frames": 12, "frames": points}))
    Image.new("RGB", (64, 48), "red").save(tmp_path / "hero.png")
    _drive(monkeypatch, ArrayFrames)
    return (
        f"preprocess --video driver.mp4 --keypoints {tmp_path}/track.json "
        f"--reference {tmp_path}/hero.png --size 64x48 --face-size 32 --lossless "
        f"--out {tmp_path}/prepared"
    ).split()


def _drive(monkeypatch: pytest.MonkeyPatch, kind: type[ArrayFrames]) -> None:
    frames = np.zeros((12, 48, 64, 3), np.uint8)
    monkeypatch.setattr(LocalMedia, "frames", lambda *_: kind(frames, Fraction(24)))


def test_preprocess_leaves_all_or_nothing(
    preparation: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(tmp_path.iterdir())
    _drive(monkeypatch, BreakingDriver)
    assert main(preparation) == 2
    assert sorted(tmp_path.iterdir()) == before
    _drive(monkeypatch, ArrayFrames)
    assert main(preparation) == 0
    made = {path.name for path in (tmp_path / "prepared").iterdir()}
    assert made == {
        *("src_pose.safetensors", "src_face.safetensors", "src_ref.png"),
        *("preview.mp4", "keypoints.json"),
    }
    assert main(preparation) == 2, "an existing folder is not touched"


@pytest.mark.parametrize("rate", ["1/0", "fast", "0", "-1", "1e400"])
def test_impossible_rates(
    rate: str, preparation: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([*preparation, f"--fps={rate}"])
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.endswith("see wan-trt preprocess --help\n")


def test_a_video_tries_its_place_at_once(tmp_path: Path) -> None:
    size: dict[str, Any] = {"height": 32, "width": 48, "frame_count": 1}
    with pytest.raises(MediaError, match=r"^out: /proc/o2\.mp4: cannot be written"):
        open_sink("/proc/o2.mp4", **size)
    sink = open_sink(tmp_path / "out.mp4", **size)
    assert [path.suffix for path in tmp_path.iterdir()] == [".partial"]
    sink.abort()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, 3), (errno.EDQUOT, 3), (errno.EIO, 2)])
def test_errors_of_the_system_are_one_line(
    number: int, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> int:
        raise OSError(number, "no\nluck", "/some/file")

    monkeypatch.setattr(wan_trt.cli.inspect, "run", fail)
    assert main(["inspect", "bundle"]) == code
    assert capsys.readouterr().err == "wan-trt: error: /some/file: no luck\n"


@pytest.mark.parametrize("out", ["/nowhere/out.mp4", "/proc/out.mp4", "PICTURE"])
def test_submit_looks_for_a_place_first(
    out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "hero.mp4"
    picture.write_bytes(b"picture")
    out = str(picture) if out == "PICTURE" else out
    words = ["submit", "--server", "127.0.0.1:1", "--reference", str(picture), "--out", out]
    assert main(words) == 2, "3 would be that the server is not there"
    error = capsys.readouterr().err
    assert error.startswith(f"wan-trt: error: --out: {out}")
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["hero.mp4"]
