"""What lies in deploy/ fits the program: flags exist, metrics are told, limits agree."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import socket
import subprocess
import tomllib
from pathlib import Path

import pytest

from wan_trt.cli.command_parser import make_parser
from wan_trt.cli.serve_options import security_options
from wan_trt.cli.serve_settings import VARIABLES, ServeSettings
from wan_trt.cli.service_manager import Heartbeat, tell
from wan_trt.cli.settings.flags import given_flags
from wan_trt.cli.settings.sources import load
from wan_trt.server.telemetry.metrics import Metrics

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
UNIT = (DEPLOY / "wan-trt.service").read_text()
STATE = {  # server/telemetry/server_state.py, which needs a server; test_metrics.py scrapes them
    *("wan_trt_pages", "wan_trt_page_bytes", "wan_trt_parked_bytes", "wan_trt_jobs"),
    *("wan_trt_disk_free_bytes", "wan_trt_disk_reserve_bytes"),
    "wan_trt_tls_certificate_expiry_timestamp_seconds",
}


def told_metrics() -> dict[str, set[str]]:
    """Names of all samples that can be scraped, and their labels."""
    found: dict[str, set[str]] = {name: {"state"} for name in STATE}
    metrics = Metrics()
    for metric in vars(metrics).values():
        for family in metric.collect() if hasattr(metric, "_labelnames") else ():
            kinds = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
            for suffix in kinds.get(family.type, ("",)):
                found[family.name + suffix] = {*metric._labelnames, "le"}
    return found


def expressions() -> list[str]:
    dashboard = json.loads((DEPLOY / "grafana.json").read_text())
    shown = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = re.findall(r"^ +expr: (.*)$", (DEPLOY / "alerts.yaml").read_text(), re.MULTILINE)
    assert len(shown) > 20
    assert len(rules) == (DEPLOY / "alerts.yaml").read_text().count("- alert: ")
    return shown + rules


@pytest.mark.parametrize("expression", expressions())
def test_every_metric_and_label_that_is_looked_at_is_told(expression: str) -> None:
    told = told_metrics()
    names = re.findall(r"\bwan_trt_\w+", expression)
    assert names or "process_resident_memory_bytes" in expression
    assert set(names) <= set(told)
    labels = set(re.findall(r"(\w+)=~?\"", expression))
    for grouped in re.findall(r"by \(([^)]*)\)", expression):
        labels |= {label.strip() for label in grouped.split(",")}
    known = {label for name in names for label in told[name]} | {"instance"}
    assert labels <= known


def test_every_metric_of_the_server_is_on_the_dashboard() -> None:
    looked_at = " ".join(expressions())
    for name in told_metrics():
        if not name.endswith(("_sum", "_count")):
            assert re.search(rf"\b{name}\b", looked_at), name


def setting_of_unit(name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", UNIT, re.MULTILINE)


def test_the_unit_starts_what_there_is() -> None:
    [check], [start] = setting_of_unit("ExecStartPre"), setting_of_unit("ExecStart")
    for command in (check, start):
        program, *words = shlex.split(command)
        assert program == "/opt/wan-trt/bin/wan-trt"
        arguments = make_parser(words).parse_args(words)
        assert arguments.config == "/etc/wan-trt/serve.toml"
    assert check == f"{start} --check-config"


def test_the_example_file_is_understood_and_fits_the_unit() -> None:
    configuration = load(ServeSettings, {}, {}, VARIABLES, DEPLOY / "serve.toml")
    settings = configuration.settings
    [state] = setting_of_unit("StateDirectory")
    assert settings.storage.data == Path("/var/lib") / state
    [stop] = setting_of_unit("TimeoutStopSec")
    assert int(stop) > settings.listening.grace + 60
    given = tomllib.loads((DEPLOY / "serve.toml").read_text())
    assert set(configuration.origins) == set(given)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "wan-trt.service"
    unit.write_text(UNIT.replace("/opt/wan-trt/bin/wan-trt", "/bin/true"))
    result = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "wan-trt.service" not in result.stderr, result.stderr
    assert result.returncode == 0, result.stderr


def command_of(dockerfile: str) -> list[str]:
    text = (ROOT / dockerfile).read_text().replace("\\\n", "")
    [command] = re.findall(r"^CMD (\[.*\])$", text, re.MULTILINE)
    words: list[str] = json.loads(command)
    return words


@pytest.mark.parametrize("dockerfile", ["Dockerfile", "Dockerfile.trt"])
def test_a_container_that_others_reach_is_encrypted_and_asks_who_calls(dockerfile: str) -> None:
    words = command_of(dockerfile)
    given = given_flags(make_parser(words).parse_args(words), ServeSettings)
    settings = load(ServeSettings, given, {}, VARIABLES, None).settings
    assert not settings.listening.listen.loopback
    security = security_options(settings.security)
    assert not security.insecure
    security.require_safe(settings.listening.listen)


def test_the_container_serves_with_flags_that_there_are() -> None:
    text = (ROOT / "Dockerfile").read_text()
    words = command_of("Dockerfile")
    make_parser(words).parse_args(words)
    [health] = re.findall(r"^ +CMD wan-trt (.*) \|\| exit 1$", text, re.MULTILINE)
    make_parser(health.split()).parse_args(health.split())
    [stop] = re.findall(r"--stop-timeout (\d+)", text)
    assert int(stop) > int(words[words.index("--grace") + 1])
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)


def test_systemd_is_told_that_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tell("READY=1")  # nobody asks
    place = tmp_path / "notify"
    monkeypatch.setenv("NOTIFY_SOCKET", str(place))
    tell("READY=1")  # nobody is there
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(place))
        manager.settimeout(10)
        tell("READY=1")
        assert manager.recv(100) == b"READY=1"
        heartbeat = Heartbeat()
        heartbeat.beat(alive=False)
        heartbeat.beat(alive=True)
        heartbeat.beat(alive=True)
        assert manager.recv(100) == b"WATCHDOG=1"
        manager.setblocking(False)
        with pytest.raises(BlockingIOError):
            manager.recv(100)
