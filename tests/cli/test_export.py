"""`wan-trt export`: what it shows, what it refuses, and what an end in between leaves behind."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from wan_trt.cli.byte_progress import ByteProgress
from wan_trt.cli.export_progress import ExportProgress
from wan_trt.cli.main import main
from wan_trt.engine.bundle import Bundle
from wan_trt.engine.manifest import MANIFEST
from wan_trt.export.progress import Progress, Stage

PATH = str(Path(__file__).resolve().parents[1] / ".path")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_shows_bytes_rate_and_remaining_time() -> None:
    terminal = Terminal()
    bar = ByteProgress(terminal)
    bar.show(250_000_000, 1_000_000_000, "denoiser blocks.0.ffn.0.weight")
    first, last = terminal.getvalue(), len(terminal.getvalue())
    assert first.startswith("\r[######..................] 0.25/1.00 GB  ")
    assert " MB/s  ETA 0:0" in first
    bar.show(1_000_000_000, 1_000_000_000)
    assert "[########################] 1.00/1.00 GB" in terminal.getvalue()[last:]
    assert terminal.getvalue().endswith("\n")


def test_without_a_terminal_there_are_lines_and_no_bars() -> None:
    stream = io.StringIO()
    progress = ExportProgress(stream)
    progress(Progress(Stage.CHECKPOINT, "checkpoint here: wan2.2-animate"))
    for done in (1_000_000, 2_000_000):
        progress(Progress(Stage.SOURCES, "hashing", done, 2_000_000))
    progress(Progress(Stage.WEIGHTS, "denoiser head", 3_500_000, 3_500_000))
    progress(Progress(Stage.GRAPHS, "graph denoiser"))
    assert stream.getvalue().splitlines() == [
        "checkpoint here: wan2.2-animate",
        "sources: 2.0 MB",
        "weights: 3.5 MB",
        "graph denoiser",
    ]


def test_the_same_command_again_says_what_it_did(
    tiny_checkpoint: Path, tiny_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bundle"
    words = ["export", str(tiny_checkpoint), "--out", str(out), "--reuse", str(tiny_bundle.path)]
    assert main(words) == 0
    assert " as before, " in capsys.readouterr().err
    assert main(words) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [str(out)]
    assert "0 tensors made, 0.0 MB" in shown.err
    assert main(["inspect", str(out), "--verify"]) == 0
    assert "files match their hashes" in capsys.readouterr().out


def test_a_bundle_of_another_checkpoint_is_refused(
    i2v_checkpoint: Path, tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (tiny_bundle.path / MANIFEST).read_bytes()
    assert main(["export", str(i2v_checkpoint), "--out", str(tiny_bundle.path)]) == 2
    assert "is a bundle of another checkpoint; expected a new folder" in capsys.readouterr().err
    assert (tiny_bundle.path / MANIFEST).read_bytes() == before


def test_a_full_disk_ends_with_its_own_code(
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert main(["export", str(tiny_checkpoint), "--out", str(tmp_path / "bundle")]) == 3
    assert "bytes and 1000 are free" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("replaces", [False, True])
def test_an_end_in_between_leaves_no_bundle_and_harms_none(
    tiny_checkpoint: Path,
    tiny_bundle: Bundle,
    tmp_path: Path,
    number: signal.Signals,
    replaces: bool,
) -> None:
    out = tmp_path / "bundle"
    if replaces:
        shutil.copytree(tiny_bundle.path, out)
    code = f"import sys; sys.path.insert(0, {PATH!r}); from wan_trt.cli.main import main; "
    # At another precision graphs are traced again: seconds in which the signal comes.
    words = ["export", str(tiny_checkpoint), "--out", str(out), "--precision", "bf16"]
    process = subprocess.Popen(
        [sys.executable, "-c", code + "sys.exit(main())", *words],
        env={**os.environ, "HOME": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("graph "):
            break
    process.send_signal(number)
    code_of_exit = process.wait(60)
    process.stderr.close()
    left = set(tmp_path.iterdir()) - {out}
    assert out.exists() == replaces
    if replaces:
        Bundle.open(out).verify()
        assert Bundle.open(out).manifest == tiny_bundle.manifest
    if number is signal.SIGTERM:
        assert code_of_exit == 4
        assert not left
    else:
        (partial,) = left
        assert partial.name.startswith(".bundle.")
        assert not (partial / MANIFEST).exists()
