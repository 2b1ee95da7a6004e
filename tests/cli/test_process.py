"""The command as a process: what it does to its surroundings, and how signals end it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from wan_trt.engine.bundle import Bundle

PATH = str(Path(__file__).resolve().parents[1] / ".path")
TIMEOUT_S = 60


def _start(*words: str, home: Path) -> subprocess.Popen[str]:
    code = f"import sys; sys.path.insert(0, {PATH!r}); from wan_trt.cli.main import main; "
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ORT_")}
    return subprocess.Popen(
        [sys.executable, "-c", code + "sys.exit(main())", *words],
        env={**environment, "HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _generate(bundle: Bundle, folder: Path, *options: str) -> list[str]:
    """A job of 21 frames; its inputs lie in `folder`."""
    generator = np.random.default_rng(0)
    words = ["generate", str(bundle.path), "--out", str(folder / "out.mp4"), *options]
    shapes = {"reference": (1, 32, 48, 3), "pose": (21, 32, 48, 3), "face": (21, 32, 32, 3)}
    for name, shape in shapes.items():
        file = folder / f"{name}.safetensors"
        save_file({"frames": generator.integers(0, 256, shape, dtype=np.uint8)}, file)
        words += [f"--{name}", str(file)]
    return words


def test_nothing_is_written_to_the_home_folder(tiny_bundle: Bundle, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    process = _start(*_generate(tiny_bundle, tmp_path, "--steps", "1"), home=home)
    assert process.wait(TIMEOUT_S) == 0
    process.communicate()
    assert list(home.rglob("*")) == []


def test_sigterm_leaves_nothing_half_written(tiny_bundle: Bundle, tmp_path: Path) -> None:
    words = _generate(tiny_bundle, tmp_path, "--steps", "900")
    before = sorted(tmp_path.iterdir())
    process = _start(*words, home=tmp_path)
    deadline = time.monotonic() + TIMEOUT_S
    while not list(tmp_path.glob(".out.mp4.*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(TIMEOUT_S) == 4
    _, errors = process.communicate()
    assert errors.splitlines()[-1].startswith("wan-trt: interrupted")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("order", [(signal.SIGINT, signal.SIGTERM), (signal.SIGTERM,) * 2])
def test_two_signals_at_once_stop_a_server(
    tiny_bundle: Bundle, tmp_path: Path, order: tuple[signal.Signals, ...]
) -> None:
    process = _start("serve", str(tiny_bundle.path), "--listen", "127.0.0.1:0", home=tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("listening on")
    for number in order:
        process.send_signal(number)
    try:
        assert process.wait(TIMEOUT_S) == 0
    finally:
        process.kill()
        process.communicate()
