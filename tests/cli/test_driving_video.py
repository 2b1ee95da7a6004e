"""Any driving video: `preprocess`, and `generate` with --video, with tiny networks."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image
from tiny_networks import red_box, write_networks

from wan_trt.cli.main import main
from wan_trt.cli.preprocess_progress import PreparationLine
from wan_trt.engine.bundle import Bundle
from wan_trt.media import open_frames
from wan_trt.preprocess import Progress

COUNT = 13


def write_video(
    path: Path,
    frames: NDArray[np.uint8],
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv444p",
    times_ms: list[int] | None = None,
    rotation: float | None = None,
) -> Path:
    with av.open(str(path), "w") as container:
        options = {"crf": "4"} if codec == "libx264" else {}
        stream = container.add_stream(codec, rate=24, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixel_format
        if times_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for number, picture in enumerate(frames):
            frame = VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
            frame.pts = number
            if times_ms is not None:
                frame.pts, frame.time_base = times_ms[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with its process_checkpoint."""
    folder = tmp_path_factory.mktemp("checkpoint")
    write_networks(folder / "process_checkpoint")
    return folder


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "walk.mp4", red_box(COUNT))


@pytest.fixture
def hero(tmp_path: Path) -> Path:
    path = tmp_path / "hero.png"
    Image.fromarray(red_box(1)[0]).save(path)
    return path


@pytest.fixture
def prepare(hero: Path, networks: Path, tmp_path: Path) -> Callable[..., int]:
    """Runs `preprocess` with the tiny networks."""

    def run(video: Path, *words: str) -> int:
        return main(
            f"preprocess --video {video} --reference {hero} --models {networks} "
            f"--area 8192 --face-size 32 --out {tmp_path / 'out'}".split()
            + list(words)
        )

    return run


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_animate(prepare: Callable[..., int], video: Path, tmp_path: Path) -> None:
    assert prepare(video, "--retarget", "--fps", "12") == 0
    out = tmp_path / "out"
    files = {"src_pose.mp4", "src_face.mp4", "src_ref.png", "preview.mp4", "keypoints.json"}
    assert names(out) == files
    pose, preview = open_frames(out / "src_pose.mp4"), open_frames(out / "preview.mp4")
    assert pose.count == 6
    assert pose.rate == 12
    assert (preview.height, preview.width) == (96, 128)
    assert pose.read(0, 6).max() > 100
    assert json.loads((out / "keypoints.json").read_text())["num_frames"] == 6


def test_replace_cuts_the_person_out(
    prepare: Callable[..., int],
    video: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert prepare(video, "--mode", "replace", "--lossless") == 0
    out = tmp_path / "out"
    assert names(out) == {
        *("src_pose.safetensors", "src_face.safetensors", "src_bg.safetensors"),
        *("src_mask.safetensors", "src_ref.png", "preview.mp4", "keypoints.json"),
    }
    mask = open_frames(out / "src_mask.safetensors")
    white = mask.read(0, COUNT)[..., 0] > 127
    assert 0.05 < white.mean() < 0.5
    middles = [np.flatnonzero(frame.any(axis=0)).mean() for frame in white]
    assert (np.diff(middles) > 0).all(), "it follows the person"
    shown = capsys.readouterr().err
    for stage in ("poses", "masks", "writing"):
        assert f"{stage:8}[########################] {COUNT}/{COUNT}" in shown


def test_key_points_given_back_make_the_same(
    prepare: Callable[..., int], video: Path, hero: Path, tmp_path: Path
) -> None:
    assert prepare(video, "--lossless", "--no-preview") == 0
    first = tmp_path / "out"
    again = tmp_path / "again"
    code = main(
        f"preprocess --video {video} --reference {hero} --keypoints {first}/keypoints.json "
        f"--area 8192 --face-size 32 --lossless --no-preview --out {again}".split()
    )
    assert code == 0
    for name in ("src_pose.safetensors", "src_face.safetensors"):
        assert (first / name).read_bytes() == (again / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["animate", "replace"])
def test_generate_takes_the_driving_video_itself(
    mode: str,
    prepare: Callable[..., int],
    video: Path,
    hero: Path,
    networks: Path,
    tiny_bundle: Bundle,
    tmp_path: Path,
) -> None:
    assert prepare(video, "--mode", mode, "--lossless", "--no-preview", "--frames", "9") == 0
    job = f"--reference {hero} --mode {mode} --steps 1 --segment-frames 9"
    made = tmp_path / "out"
    files = f"--pose {made}/src_pose.safetensors --face {made}/src_face.safetensors"
    if mode == "replace":
        files += f" --background {made}/src_bg.safetensors --mask {made}/src_mask.safetensors"
    driver = f"--video {video} --models {networks} --area 8192 --frames 9 --face-size 32"
    results = []
    for number, given in enumerate((files, driver)):
        result = tmp_path / f"{number}.safetensors"
        words = f"generate {tiny_bundle.path} {job} {given} --out {result}".split()
        assert main(words) == 0
        results.append(open_frames_of(result))
    assert np.array_equal(results[0], results[1])


def open_frames_of(path: Path) -> NDArray[np.float32]:
    from safetensors.numpy import load_file

    frames: NDArray[np.float32] = load_file(path)["frames"]
    return frames


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--video v.mp4", "--models: missing: nothing tells the person's key points"),
        ("--video v.mp4 --keypoints k.json --pose p.mp4", "--pose: given together with --video"),
        ("--keypoints k.json", "--keypoints: given without --video"),
        ("--pose p.mp4 --face f.mp4 --retarget", "--retarget: given without --video"),
        ("--video v.mp4 --models nowhere", "--models: nowhere is no folder"),
        ("--video v.mp4 --keypoints k --mask-from sam2", "--mask-from: sam2, where no mask"),
        ("--video v.mp4 --keypoints k --size 64x64 --area 9", "--size: 64x64 together with --area"),
        ("--video v.mp4 --keypoints k --edited-driver t.png", "--edited-driver: given without"),
        ("--video v.mp4 --keypoints k --person here", "--person: 'here'"),
    ],
)
def test_generate_refuses(
    words: str,
    message: str,
    tiny_bundle: Bundle,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out.mp4"
    command = f"generate {tiny_bundle.path} --reference hero.png --out {out} {words}"
    code = main(command.split())
    error = capsys.readouterr().err
    assert (code, error.count("\n")) == (2, 1)
    assert message in error
    assert not out.exists()


@pytest.mark.parametrize(
    ("missing", "words", "message"),
    [
        ("det/yolov10m.onnx", "", "give --keypoints FILE"),
        ("pose2d/vitpose_h_wholebody.onnx", "", "give --keypoints FILE"),
        ("sam2/memory_encoder.onnx", "--mode replace", "give --matte VIDEO, or --mask-from box"),
    ],
)
def test_a_missing_network(
    missing: str,
    words: str,
    message: str,
    video: Path,
    hero: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = write_networks(tmp_path / "networks")
    (folder / missing).unlink()
    command = f"preprocess --video {video} --reference {hero} --models {folder} --area 8192 {words}"
    assert main([*command.split(), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert f"--models: {folder / missing} is missing" in error
    assert message in error
    if words:
        again = [*command.split(), "--mask-from", "box", "--out", str(tmp_path / "out")]
        assert main(again) == 0


@pytest.mark.parametrize("stage", ["poses", "masks", "writing"])
def test_interrupted_it_leaves_nothing(
    stage: str,
    prepare: Callable[..., int],
    video: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(_: PreparationLine, progress: Progress) -> None:
        if progress.stage == stage:
            raise KeyboardInterrupt

    monkeypatch.setattr(PreparationLine, "show", interrupt)
    before = sorted(tmp_path.iterdir())
    assert prepare(video, "--mode", "replace") == 4
    assert sorted(tmp_path.iterdir()) == before


GOOD: dict[str, dict[str, Any]] = {
    "variable rate": {"times_ms": [0, 40, 50, 150, *range(200, 200 + 9 * 41, 41)]},
    "10 bit": {"pixel_format": "yuv420p10le"},
    "alpha": {"codec": "qtrle", "pixel_format": "argb"},
    "turned": {"rotation": 90},
}


@pytest.mark.parametrize("kind", GOOD)
def test_unusual_videos(kind: str, prepare: Callable[..., int], tmp_path: Path) -> None:
    suffix = ".mov" if kind == "alpha" else ".mp4"
    path = write_video(tmp_path / f"walk{suffix}", red_box(COUNT), **GOOD[kind])
    assert prepare(path) == 0
    preview = open_frames(tmp_path / "out" / "preview.mp4")
    assert preview.count == COUNT
    upright = (preview.height, preview.width)
    assert upright == ((128, 96) if kind == "turned" else (96, 128))
    assert open_frames(tmp_path / "out" / "src_pose.mp4").read(0, COUNT).max() > 100


@pytest.mark.parametrize("size", [(97, 129), (1, 1), (96, 3)])
def test_odd_sizes(size: tuple[int, int], prepare: Callable[..., int], tmp_path: Path) -> None:
    frames = np.full((3, *size, 3), 160, dtype=np.uint8)
    path = write_video(tmp_path / "odd.mp4", frames)
    assert prepare(path) == 0
    assert open_frames(tmp_path / "out" / "src_pose.mp4").count == 3


def damaged(folder: Path) -> Path:
    """The middle of the pictures' data is noise."""
    frames = np.random.default_rng(1).integers(0, 256, (40, 96, 128, 3), dtype=np.uint8)
    path = write_video(folder / "damaged.mp4", frames)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 20_000] = np.random.default_rng(2).bytes(20_000)
    path.write_bytes(data)
    return path


def cut_off(folder: Path) -> Path:
    path = write_video(folder / "cut.mp4", red_box(COUNT))
    path.write_bytes(path.read_bytes()[:2000])
    return path


def only_sound(folder: Path) -> Path:
    path = folder / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), "s16", "mono")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def text(folder: Path) -> Path:
    path = folder / "text.mp4"
    path.write_text("no video")
    return path


@pytest.mark.parametrize("make", [damaged, cut_off, only_sound, text])
@pytest.mark.parametrize("mode", ["animate", "replace"])
def test_unusable_videos_leave_nothing(
    make: Callable[[Path], Path],
    mode: str,
    prepare: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = make(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert prepare(path, "--mode", mode) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"wan-trt: error: --video: {path}")
    assert sorted(tmp_path.iterdir()) == before
