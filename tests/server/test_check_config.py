"""`wan-trt serve --check-config`, and a server that is started from a file."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from toy_bundle import write_toy_bundle

from wan_trt.cli.main import main
from wan_trt.engine import Bundle
from wan_trt.server.store.data_folder import DataFolder

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_toy_bundle(tmp_path_factory.mktemp("bundle") / "toy", high=0.5, low=0.25)


@pytest.fixture
def config(bundle: Bundle, tmp_path: Path) -> Path:
    file = tmp_path / "serve.toml"
    file.write_text(
        f'bundle = "{bundle.path}"\nlisten = "127.0.0.1:0"\ndata = "data"\nthreads = 1\n'
    )
    return file


def test_all_is_well(
    config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WAN_TRT_SERVE_CONFIG", str(config))
    monkeypatch.setenv("WAN_TRT_SERVE_KEEP_DAYS", "3")
    assert main(["serve", "--check-config", "--policy", "fair"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert f'data = "{tmp_path / "data"}"  # {config}:3\n' in shown.out
    assert "keep_days = 3  # variable WAN_TRT_SERVE_KEEP_DAYS\n" in shown.out
    assert 'policy = "fair"  # flag --policy\n' in shown.out
    assert "grace = 10  # default\n" in shown.out
    assert not (tmp_path / "data").exists()


def test_a_server_of_a_file_tells_its_second_port_and_logs_json(config: Path) -> None:
    with config.open("a") as file:
        file.write('metrics_listen = "127.0.0.1:0"\nlog_format = "json"\ngrace = 0.1\n')
    process = start("serve", "--config", str(config))
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("listening on 127.0.0.1:")
        assert process.stderr is not None
        what, told = (json.loads(process.stderr.readline())["message"] for _ in range(2))
        assert what.startswith("wan-trt ")
        assert what.endswith(" on cpu")
        address = told.removeprefix("metrics on ").removesuffix("/metrics")
        with urllib.request.urlopen(f"{address}/readyz", timeout=30) as answer:
            assert answer.read() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert json.loads(errors.splitlines()[0])["message"] == "stopping: no more jobs are taken"
    finally:
        process.kill()
        process.communicate(timeout=30)


def start(*words: str) -> subprocess.Popen[str]:
    code = "import sys; from wan_trt.cli.main import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "tests" / ".path")},
    )


def test_every_problem_is_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = DataFolder(tmp_path / "data")
    with socket.create_server(("127.0.0.1", 0)) as busy:
        address = f"127.0.0.1:{busy.getsockname()[1]}"
        words = ["serve", str(tmp_path / "none"), "--listen", address, "--data", str(data.path)]
        assert main([*words, "--check-config"]) == 2
    data.close()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("wan-trt: error: ") for line in lines)
    assert "none" in lines[0]
    assert f"--listen: cannot listen on {address}" in lines[1]
    assert "--data: another server uses the folder" in lines[2]


def test_a_data_folder_of_another_kind(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check = ["serve", "--config", str(config), "--check-config", "--data"]
    (tmp_path / "file").touch()
    assert main([*check, str(tmp_path / "file" / "below")]) == 2
    assert "cannot be written" in capsys.readouterr().err
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "jobs.sqlite3").write_bytes(b"something else entirely" * 100)
    assert main([*check, str(foreign)]) == 2
    assert "expected the job store of a wan-trt server" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], r"BUNDLE: missing; expected the folder that"),
        (["b", "--listen", "nowhere"], r"--listen: address 'nowhere'; expected HOST:PORT"),
        (["b", "--grace", "-1"], r"--grace: -1.0; expected a number, 0 or more"),
        (["b", "--config", "/none.toml"], r"--config: /none.toml: No such file"),
    ],
)
def test_settings_that_are_wrong_are_one_line_and_exit_code_2(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(told, error)
