"""`wan-trt serve, health, submit, watch, cancel, fetch` as a user runs them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from serving import FRAMES, MediaFiles

from wan_trt.cli.main import main
from wan_trt.engine import Bundle
from wan_trt.media import open_frames

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 120


def start(*arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests" / ".path")}
    code = "import sys; from wan_trt.cli.main import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=ROOT,
    )


@dataclass(frozen=True)
class Served:
    process: subprocess.Popen[str]
    address: str


@pytest.fixture
def served(tiny_bundle: Bundle, tmp_path: Path) -> Iterator[Served]:
    with serving(tiny_bundle, tmp_path / "data") as served:
        yield served


@contextmanager
def serving(bundle: Bundle, data: Path) -> Iterator[Served]:
    """`wan-trt serve` in a process of its own."""
    process = start(
        *("serve", str(bundle.path), "--listen", "127.0.0.1:0", "--threads", "1"),
        *("--data", str(data), "--grace", "0.2"),
    )
    watchdog = threading.Timer(TIMEOUT_S, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        match = re.fullmatch(r"listening on (127\.0\.0\.1:\d+)\n", line)
        assert match, line or process.communicate(timeout=10)[1]
        yield Served(process, match[1])
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate(timeout=30)


def submission(media: MediaFiles, server: str, steps: int = 2) -> list[str]:
    return [
        *("submit", "--server", server, "--reference", str(media.reference)),
        *("--pose", str(media.pose), "--face", str(media.face), "--steps", str(steps)),
        *("--segment-frames", "5", "--seed", "3"),
    ]


def test_submit_watch_fetch(
    served: Served,
    media_files: MediaFiles,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(submission(media_files, served.address)) == 0
    job_id = capsys.readouterr().out.strip()
    assert re.fullmatch("[0-9a-f]{32}", job_id)

    assert main(["watch", job_id, "--server", served.address]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "queued"
    assert any(
        re.match(r"segment 1/2  \[#+\.+\] step 1/2  (high|low)  ETA \d:\d\d$", line)
        for line in lines
    )
    assert lines[-1].startswith(f"done: {FRAMES} frames in ")

    assert main(["watch", job_id, "--server", served.address, "--after", "99"]) == 2
    assert capsys.readouterr().err.startswith("wan-trt: error: --after: 99; expected")

    out = tmp_path / "out.mp4"
    assert main(["fetch", job_id, "--server", served.address, "--out", str(out)]) == 0
    video = open_frames(out)
    assert video.count == FRAMES
    video.close()

    wrong = ["fetch", job_id, "--server", served.address, "--out", str(tmp_path / "out.png")]
    assert main(wrong) == 2
    assert "ends in .mp4" in capsys.readouterr().err
    assert main(["cancel", job_id, "--server", served.address]) == 0
    assert capsys.readouterr().out == "done\n"


def test_submit_and_fetch_in_one(
    served: Served, media_files: MediaFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.safetensors"
    assert main([*submission(media_files, served.address), "--out", str(out)]) == 0
    assert out.is_file()
    captured = capsys.readouterr()
    assert re.fullmatch("[0-9a-f]{32}\n", captured.out)
    assert "done" in captured.err


def test_cancel(
    served: Served, media_files: MediaFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(submission(media_files, served.address, steps=1000)) == 0
    job_id = capsys.readouterr().out.strip()
    assert main(["cancel", job_id, "--server", served.address]) == 0
    assert capsys.readouterr().out == "cancelled\n"
    assert main(["watch", job_id, "--server", served.address]) == 4
    assert "was cancelled" in capsys.readouterr().err


def test_bad_input_is_one_line_and_exit_code_2(
    served: Served, media_files: MediaFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = submission(media_files, served.address)
    for arguments, words in (
        ([*asked, "--pose", str(tmp_path / "none.mp4")], "error: --pose: "),
        ([*asked, "--overlap", "3"], "error: --overlap: 3 frames; expected 1 or 5"),
        ([*asked, "--out", str(tmp_path / "out.gif")], ".mp4, .safetensors"),
        ([*asked, "--format", "uint8", "--out", str(tmp_path / "o.mp4")], ".safetensors"),
        ([*asked, "--server", "nowhere"], "error: --server: "),
        (["watch", "nobody", "--server", served.address], "error: JOB: no job"),
    ):
        assert main(arguments) == 2, arguments
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert words in error
    assert main(["watch", "job", "--server", "127.0.0.1:1", "--patience", "0"]) == 3
    capsys.readouterr()
    assert main(["watch", "job", "--server", "127.0.0.1:1", "--patience", "0.3"]) == 3
    first, last = capsys.readouterr().err.splitlines()
    assert first.endswith("no server answers at 127.0.0.1:1; trying again for 0 s")
    assert last.startswith("wan-trt: error: --server: no server answers")
    assert main(["watch", "job", "--patience", "-1"]) == 2
    assert "--patience: -1" in capsys.readouterr().err


def test_health(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["health", "--server", served.address]) == 0
    assert capsys.readouterr().out == "serving\n"
    served.process.kill()
    served.process.wait(timeout=30)
    assert main(["health", "--server", served.address, "--timeout", "2"]) == 3
    assert "no server answers" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_in_order_and_the_job_goes_on_in_the_next(
    served: Served,
    tiny_bundle: Bundle,
    media_files: MediaFiles,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    assert main(submission(media_files, served.address, steps=1000)) == 0
    job_id = capsys.readouterr().out.strip()
    served.process.send_signal(number)
    output, error = served.process.communicate(timeout=60)
    assert served.process.returncode == 0, error
    assert output == ""
    assert "Traceback" not in error
    assert "the jobs that are left go on when a server is started again" in error
    with serving(tiny_bundle, tmp_path / "data") as next_one:
        assert main(["cancel", job_id, "--server", next_one.address]) == 0
        assert main(["watch", job_id, "--server", next_one.address]) == 4
    told = capsys.readouterr().out
    assert told.count("queued") == 3  # submitted, left, taken up


def test_a_busy_port(served: Served, tiny_bundle: Bundle) -> None:
    process = start("serve", str(tiny_bundle.path), "--listen", served.address)
    output, error = process.communicate(timeout=60)
    assert (process.returncode, output) == (2, "")
    assert error.count("\n") == 1
    assert served.address in error
    assert "use another port" in error
