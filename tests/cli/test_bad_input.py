"""Bad input: one line that says what was given, exit code 2, nothing half-written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save_file

from wan_trt.cli.main import main
from wan_trt.engine import Engine
from wan_trt.engine.bundle import Bundle
from wan_trt.media import open_sink

FRAMES, HEIGHT, WIDTH = 9, 32, 48
SEED_AND_NOISE = ("--seed", "0", "--noise", "n.safetensors", "--reference", "r", "--out", "o.mp4")


def _frames(count: int = FRAMES, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@dataclass
class Job:
    """A good job of nine frames, to be spoilt by a test."""

    bundle: Path
    folder: Path
    options: dict[str, str] = field(default_factory=dict)

    @property
    def out(self) -> Path:
        return self.folder / "out.mp4"

    def give(self, option: str, frames: NDArray[Any], name: str = "frames") -> None:
        path = self.folder / f"{option}.safetensors"
        save_file({name: np.ascontiguousarray(frames)}, path)
        self.options[option] = str(path)

    def run(self) -> int:
        words = [word for pair in self.options.items() for word in (f"--{pair[0]}", pair[1])]
        return main(["generate", str(self.bundle), *words, "--out", str(self.out)])


@pytest.fixture
def job(tiny_bundle: Bundle, tmp_path: Path) -> Job:
    job = Job(tiny_bundle.path, tmp_path)
    job.give("reference", _frames(1))
    job.give("pose", _frames())
    job.give("face", _frames(height=32, width=32))
    job.options |= {"steps": "1", "segment-frames": "9"}
    return job


def _set(**options: str) -> Callable[[Job], None]:
    return lambda job: job.options.update({k.replace("_", "-"): v for k, v in options.items()})


def _write(option: str, data: bytes, name: str) -> Callable[[Job], None]:
    def spoil(job: Job) -> None:
        (job.folder / name).write_bytes(data)
        job.options[option] = str(job.folder / name)

    return spoil


def _give(option: str, frames: NDArray[Any], name: str = "frames") -> Callable[[Job], None]:
    return lambda job: job.give(option, frames, name)


def _replace_with_empty_mask(job: Job) -> None:
    job.options["mode"] = "replace"
    job.give("background", _frames())
    job.give("mask", np.zeros((FRAMES, HEIGHT, WIDTH), np.uint8))


def _scene_and_mask_exchanged(job: Job) -> None:
    job.options["mode"] = "replace"
    job.give("mask", _frames())
    job.give("background", np.full((FRAMES, HEIGHT, WIDTH), 255, np.uint8))


def _one_frame(job: Job) -> None:
    job.give("pose", _frames(1))
    job.give("face", _frames(1, 32, 32))


def _noise_with_nan(job: Job) -> None:
    noise = np.zeros((16, 4, HEIGHT // 8, WIDTH // 8), np.float32)
    noise[0, 0, 0, 0] = np.nan
    job.give("noise", noise, "segment.0")


def _silent_video(job: Job) -> None:
    path = job.folder / "silent.mp4"
    sink = open_sink(path, height=HEIGHT, width=WIDTH, frame_count=1)
    sink.write(np.zeros((1, HEIGHT, WIDTH, 3), np.float32))
    sink.close()
    job.options["audio"] = str(path)


def _silent_output(job: Job) -> None:
    job.options |= {"audio": "sound.mp4", "out": str(job.folder / "out.safetensors")}


def _timings_over_input(job: Job) -> None:
    job.options["timings"] = job.options["pose"]


SPOILT: Mapping[str, tuple[Callable[[Job], None], str]] = {
    "missing file": (_set(pose="/nowhere/pose.mp4"), "--pose: "),
    "missing picture": (_set(reference="/nowhere/hero.png"), "--reference: "),
    "no picture": (_write("reference", b"not a picture at all", "hero.png"), "--reference: "),
    "no video": (_write("pose", b"not a video at all", "pose.mp4"), "--pose: "),
    "an empty file": (_write("face", b"", "face.mp4"), "--face: "),
    "no frames": (_give("pose", _frames(0)), "--pose"),
    "pose and face of different lengths": (_give("face", _frames(8, 32, 32)), "--face: "),
    "odd size": (_give("pose", _frames(height=33)), "--pose: "),
    "size between multiples of 16": (_give("pose", _frames(height=24)), "--pose: "),
    "absurd size": (_give("pose", np.zeros((5, 16, 8208, 3), np.uint8)), "--pose: "),
    "one frame": (_one_frame, "--pose"),
    "empty mask": (_replace_with_empty_mask, "--mask: "),
    "background and mask exchanged": (_scene_and_mask_exchanged, "--mask: the video is no mask"),
    "replace without background": (_set(mode="replace"), "--background"),
    "NaN in the noise": (_noise_with_nan, "--noise: "),
    "noise of another size": (_give("noise", np.zeros((16, 4, 2, 2), np.float32), "segment.0"), ""),
    "no steps": (_set(steps="0"), "--steps"),
    "negative shift": (_set(shift="-1"), "--shift"),
    "guidance that is no number": (_set(guidance="much"), "--guidance"),
    "unknown overlap": (_set(overlap="2"), "--overlap"),
    "segment of 4n frames": (_set(segment_frames="12"), "--segment-frames: 12"),
    "a negative prompt that nothing reads": (_set(negative_prompt="blurry"), "--negative-prompt: "),
    "sound for an output without": (_silent_output, "--audio: given, but"),
    "output of unknown type": (_set(out="video.gif"), "--out: "),
    "output that is an input": (lambda job: job.options.update(out=job.options["pose"]), "--pose"),
    "timings over an input": (_timings_over_input, "read as --pose"),
    "no place for the timings": (_set(timings="/nowhere/t.json"), "--timings: /nowhere/t.json"),
    "no file for the timings": (_set(timings="/proc/t.json"), "--timings: /proc/t.json"),
    "sound of a silent file": (_silent_video, "silent.mp4: no sound"),
}  # fmt: skip


@pytest.mark.parametrize("what", SPOILT)
def test_bad_input_is_refused_in_one_line(
    what: str, job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, expected = SPOILT[what]
    spoil(job)
    before = sorted(job.folder.iterdir())
    out = job.options.pop("out", str(job.out))
    words = [word for pair in job.options.items() for word in (f"--{pair[0]}", pair[1])]
    assert main(["generate", str(job.bundle), *words, "--out", out]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("wan-trt: error: --"), "the option as it is typed"
    assert expected in lines[0]
    assert sorted(job.folder.iterdir()) == before


def test_the_job_is_good_unless_spoilt(job: Job) -> None:
    assert job.run() == 0
    assert job.out.stat().st_size > 0


def test_timings_are_written(job: Job) -> None:
    job.options["timings"] = str(job.folder / "timings.json")
    assert job.run() == 0
    assert json.loads((job.folder / "timings.json").read_text())["state"] == "done"


def test_an_interrupt_leaves_nothing(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        assert list(job.folder.glob(".out.mp4.*")), "the sink is open"
        raise KeyboardInterrupt

    monkeypatch.setattr(Engine, "step", interrupted)
    before = sorted(job.folder.iterdir())
    assert job.run() == 4
    assert sorted(job.folder.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "required: COMMAND; see wan-trt --help"),
        (["dance"], "see wan-trt --help"),
        (["generate"], "see wan-trt generate --help"),
        (["generate", "b", "--solver", "magic"], "invalid choice: 'magic'"),
        (["generate", "b", *SEED_AND_NOISE], "--noise: not allowed with argument --seed"),
        (["submit", *SEED_AND_NOISE], "--noise: not allowed with argument --seed"),
        (
            ["inspect", "b", "--surprise"],
            "unrecognized arguments: --surprise; see wan-trt inspect --help",
        ),
    ],
)
def test_usage_errors_are_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    error = capsys.readouterr().err
    assert error.startswith("wan-trt: error: ")
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("damage", ["missing", "newer", "truncated", "no JSON", "unknown key"])
def test_a_damaged_bundle_is_refused(
    damage: str, job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(job.bundle, copy)
    manifest = copy / "manifest.json"
    data = json.loads(manifest.read_text())
    match damage:
        case "missing":
            shutil.rmtree(copy)
        case "newer":
            manifest.write_text(json.dumps({**data, "schema": 99}))
        case "unknown key":
            manifest.write_text(json.dumps({**data, "surprise": 1}))
        case "no JSON":
            manifest.write_text("{")
        case "truncated":
            weights = next((copy / "weights").iterdir())
            weights.write_bytes(weights.read_bytes()[:-1])
    job.bundle = copy
    assert job.run() == 2
    error = capsys.readouterr().err
    assert str(copy) in error
    assert len(error.strip().splitlines()) == 1
    assert not job.out.exists()


def test_an_image_with_another_name_is_still_read(job: Job) -> None:
    Image.fromarray(_frames(1)[0]).save(job.folder / "hero.jpeg")
    job.options["reference"] = str(job.folder / "hero.jpeg")
    assert job.run() == 0
