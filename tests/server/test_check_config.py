"""`wan-trt serve --check-config`, and a server that is started from a file."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from wan_trt.cli.main import main
from wan_trt.engine import Bundle
from wan_trt.server.store.data_folder import DataFolder


@pytest.fixture
def config(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    file = tmp_path / "serve.toml"
    file.write_text(
        f'bundle = "{tiny_bundle.path}"\nlisten = "127.0.0.1:0"\ndata = "data"\nthreads = 1\n'
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
