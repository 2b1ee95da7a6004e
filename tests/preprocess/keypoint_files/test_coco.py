from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wan_trt.engine.errors import MediaError
from wan_trt.preprocess.keypoint_files import read_keypoints
from wan_trt.preprocess.keypoints import KeypointTrack

ASSETS = Path(__file__).resolve().parents[3] / "assets" / "keypoints"


def content(frames: int = 2) -> dict[str, Any]:
    return {
        "schema": "coco-wholebody-133/1",
        "source": "a test",
        "width": 640,
        "height": 360,
        "fps": [30000, 1001],
        "num_frames": frames,
        "frames": [[[k, t, 0.5] for k in range(133)] for t in range(frames)],
    }


def write(folder: Path, value: object) -> Path:
    path = folder / "track.json"
    path.write_text(json.dumps(value))
    return path


def test_reads_a_track(tmp_path: Path) -> None:
    track = read_keypoints(write(tmp_path, content()))
    assert (track.width, track.height, track.count) == (640, 360, 2)
    assert track.rate == Fraction(30000, 1001)
    assert track.points.dtype == np.float64
    assert track.points[1, 132].tolist() == [132, 1, 0.5]


def test_a_picture_has_no_rate(tmp_path: Path) -> None:
    assert read_keypoints(write(tmp_path, content(1) | {"fps": None})).rate is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "coco-wholebody-133/2"}, "expected 'coco-wholebody-133/1'"),
        ({"width": 0}, "width 0"),
        ({"height": 360.5}, "height 360.5"),
        ({"width": True}, "width True"),
        ({"fps": 30}, "fps 30"),
        ({"fps": [30]}, "numerator"),
        ({"fps": [30, 0]}, "above 0"),
        ({"num_frames": 3}, "num_frames 3"),
        ({"frames": [], "num_frames": 0}, "no frames"),
        ({"frames": None}, "no frames"),
        ({"frames": [[[0, 0, 0]] * 132] * 2}, "frame 0 is of another form"),
        ({"frames": [[[0, 0, 0]] * 133, [[0, 0]] * 133]}, "frame 1 is of another form"),
        ({"frames": [[[0, 0, 0]] * 132 + [[0]]] * 2}, "frame 0 is of another form"),
        ({"frames": [[["1", 0, 0]] * 133] * 2}, "frame 0 is of another form"),
        ({"frames": [[[None, 0, 0]] * 133] * 2}, "frame 0 is of another form"),
        ({"frames": [[[10**400, 0, 0]] * 133] * 2}, "frame 0 is of another form"),
        ({"frames": [[[0, 0, 0]] * 133, [[float("nan"), 0, 0]] * 133]}, "frame 1 is not finite"),
        ({"frames": [[[0, 0, 0]] * 133, [[0, 0, 1.01]] * 133]}, "frame 1 has wrong scores"),
        ({"frames": [[[0, 0, -0.1]] * 133] * 2}, "frame 0 has wrong scores"),
        ({"frames": [[[2e6, 0, 0]] * 133, [[0, -2e6, 0.1]] * 133]}, "frame 1 has points far away"),
        ({"width": 20000}, "size 20000x360"),
        ({"persons": 2}, "unknown field 'persons'"),
    ],
)
def test_refuses_what_breaks_the_schema(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    path = write(tmp_path, content() | change)
    with pytest.raises(MediaError, match=message) as caught:
        read_keypoints(path)
    assert str(path) in str(caught.value)
    assert caught.value.field == "keypoints"


def test_refuses_a_track_without_a_field(tmp_path: Path) -> None:
    value = content()
    del value["fps"]
    with pytest.raises(MediaError, match="no field 'fps'"):
        read_keypoints(write(tmp_path, value))


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"[]", b"1"])
def test_refuses_what_is_no_json_object(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "track.json"
    path.write_bytes(data)
    with pytest.raises(MediaError, match=r"an object|not JSON"):
        read_keypoints(path)


def test_says_why_a_file_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="No such file"):
        read_keypoints(tmp_path / "none.json")
    with pytest.raises(MediaError, match=r"a folder without \.json files"):
        read_keypoints(tmp_path)


def test_selecting_frames(track: KeypointTrack) -> None:
    chosen = track.select([3, 3, 1], Fraction(10))
    assert (chosen.count, chosen.rate) == (3, Fraction(10))
    assert np.array_equal(chosen.points, track.points[[3, 3, 1]])


def test_a_track_has_133_points() -> None:
    with pytest.raises(ValueError, match="133"):
        KeypointTrack(10, 10, None, np.zeros((1, 132, 3)))


def test_the_demonstration_has_its_track() -> None:
    track = read_keypoints(ASSETS / "animate.coco133.json")
    assert (track.count, track.width, track.height) == (80, 1920, 1080)
    assert track.rate == 30


def test_reads_the_example_tracks(shared: Path) -> None:
    counts = {
        path.name.split(".")[0]: read_keypoints(path).count
        for path in (shared / "data" / "keypoints").glob("*.coco133.json")
    }
    assert counts == {
        "animate": 106,
        "animate_image": 1,
        "replace": 164,
        "replace_forward": 164,
        "replace_image": 1,
    }
