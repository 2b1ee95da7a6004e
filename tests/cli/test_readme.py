"""The README's walk through FP8, command by command, and its Python, on a smaller model than
`make demo` leaves."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
from fractions import Fraction
from pathlib import Path

import pytest
from durable import write_media
from PIL import Image
from toy_bundle import write_toy_bundle

from wan_trt.calibration.gate.made_up_media import driver, picture
from wan_trt.cli.main import main
from wan_trt.engine.bundle import Bundle
from wan_trt.export.bundle_writer import export_bundle
from wan_trt.export.lora.spec import LoraSpec, LoraStacks
from wan_trt.export.options import ExportOptions
from wan_trt.export.synthetic.lora import write_musubi_lora
from wan_trt.export.synthetic.sizes import TINY
from wan_trt.media import open_frames, open_pixel_writer

README = Path(__file__).resolve().parents[2] / "README.md"
FRAMES = 33  # as many as `make demo` leaves


@pytest.fixture
def demo(
    tiny_checkpoint: Path, tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder demo/ with the files that `make demo` leaves there and the walk begins with; it
    stands in the current folder."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "checkpoint").symlink_to(tiny_checkpoint)
    loras = [
        LoraSpec(write_musubi_lora(folder / f"{expert}.safetensors", TINY, seed=seed), 0.8)
        for seed, expert in enumerate(("high", "low"))
    ]
    stacks = LoraStacks(high=(loras[0],), low=(loras[1],))
    options = ExportOptions(stacks, reuse=(tiny_bundle.path,))
    export_bundle(tiny_checkpoint, folder / "bundle", options)
    Image.fromarray(picture(64, 64)).save(folder / "reference.png")
    for name, frames in zip(("pose", "face"), driver(FRAMES, 64, 64, 32), strict=True):
        height, width = frames.shape[1:3]
        writer = open_pixel_writer(
            folder / f"{name}.mp4",
            height=height,
            width=width,
            frame_count=FRAMES,
            rate=Fraction(15),
        )
        writer.write(frames)
        writer.close()
    return folder


def commands(heading: str) -> list[str]:
    """The lines of the first block under a heading of the README, continued lines as one."""
    _, _, section = README.read_text(encoding="utf-8").partition(f"\n{heading}\n")
    found = re.search(r"^```\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    assert found, heading
    return [line for line in found[1].replace("\\\n", " ").splitlines() if line]


@pytest.mark.slow
def test_the_walk_through_fp8(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = []
    for command in commands("### FP8"):
        program, *words = shlex.split(command)
        if program == "wan-trt":
            capsys.readouterr()
            assert main(words) == 0, command
            ran.append(words[0])
        else:
            subprocess.run(["sh", "-c", command], check=True)
    assert ran == ["calibrate", "export", "gate", "inspect"]
    shown = capsys.readouterr().out
    assert "wan2.2-animate, fp8, schema" in shown
    assert "gate       passed against" in shown
    assert "velocity.cosine.low 0.99" in shown
    page = (demo / "gate.html").read_text()
    assert "astronaut" in page
    assert "<svg" in page
    gate = Bundle.open(demo / "fp8").manifest.gate
    assert gate is not None
    assert list(gate.job) == ["made up"]  # the walk's last verdict


def test_the_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(
        r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    write_toy_bundle(tmp_path / "bundle")
    for name, stands_for in write_media(tmp_path, frames=9).items():
        code = code.replace({"reference": "hero.png"}.get(name, f"{name}.mp4"), stands_for.name)
    (tmp_path / "shown.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    runpy.run_path("shown.py", run_name="__main__")
    video = open_frames(tmp_path / "hero.mp4")
    assert video.count == 9
    video.close()
