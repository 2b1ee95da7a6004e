"""A server with TLS and tokens, and its clients, as an operator and a user run them."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from made_up_ca import MadeUpCa
from serving import MakeServer

from wan_trt.cli.main import main
from wan_trt.engine import Bundle
from wan_trt.server.access_file import read_access_file
from wan_trt.server.security import SecurityOptions
from wan_trt.server.tls import TlsFiles


def test_a_token_is_shown_once_and_its_entry_lets_it_in(
    make_server: MakeServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ca = MadeUpCa(tmp_path / "ca")
    pair = ca.sign("server")
    assert main(["token", "new", "--name", "farm", "--admin", "--days", "2"]) == 0
    entry, told = capsys.readouterr()
    token = told.split()[-1]
    assert re.fullmatch("wantrt_[A-Za-z0-9_-]{43}", token)
    assert token not in entry
    listed = tmp_path / "access.toml"
    listed.write_text(entry)
    [known] = read_access_file(listed).entries
    assert known.principal.admin
    assert known.expires is not None
    assert timedelta(days=1) < known.expires - datetime.now(UTC) < timedelta(days=2)

    files = TlsFiles(pair.certificate, pair.key)
    server = make_server(security=SecurityOptions(tls=files, access=listed))
    ask = ["cancel", "nobody", "--server", str(server.address)]
    assert main([*ask, "--tls-ca", str(ca.certificate)]) == 2
    assert "ask the operator for a token" in capsys.readouterr().err
    (tmp_path / "token").write_text(f"{token}\n")
    assert (
        main([*ask, "--tls-ca", str(ca.certificate), "--token-file", str(tmp_path / "token")]) == 2
    )
    assert "no job 'nobody'" in capsys.readouterr().err
    monkeypatch.setenv("WAN_TRT_TOKEN", token)
    monkeypatch.setenv("WAN_TRT_CA", str(ca.certificate))
    assert main(ask) == 2
    assert "no job 'nobody'" in capsys.readouterr().err
    assert main(["health", "--server", str(server.address)]) == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--name", "a b"], "--name: 'a b'; expected 1 to 255 printable"),
        (["--name", "a", "--days", "-1"], "--days: -1; expected a number of days"),
        (["--name", "a", "--days", "nan"], "--days: nan; expected"),
    ],
)
def test_entries_that_cannot_be(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["token", "new", *words]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert told in err


def test_every_name_that_is_taken_can_be_read_again(capsys: pytest.CaptureFixture[str]) -> None:
    name = "".join(chr(code) for code in range(0x21, 0x7F))
    assert main(["token", "new", f"--name={name}"]) == 0
    [table] = tomllib.loads(capsys.readouterr().out)["principal"]
    assert table["name"] == name


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--listen", "0.0.0.0:0"], "--listen: 0.0.0.0:0 can be reached from other machines"),
        (["--tls-cert", "a.pem"], "--tls-key: missing"),
        (["--tls-client-ca", "a.pem"], "--tls-cert: missing"),
        (
            ["--tls-cert", "none.pem", "--tls-key", "none.key"],
            "--tls-cert: none.pem cannot be",
        ),
        (["--access", "none.toml"], "--access: none.toml cannot be read"),
        (["--input-root", "none"], "--input-root: none is no folder"),
    ],
)
def test_what_a_server_does_not_start_with(
    tiny_bundle: Bundle, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["serve", str(tiny_bundle.path), "--listen", "127.0.0.1:0", *words]
    assert main(command) == 2
    assert told in capsys.readouterr().err
    assert main([*command, "--check-config"]) == 2
