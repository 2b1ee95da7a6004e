"""A server answers whatever is sent to it as it must, loses nothing by it and lives on.

`python benchmarks/fuzz.py` does the same for longer; so does WAN_TRT_FUZZ_SECONDS here: 30 in CI.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import fuzz
import grpc
import pytest
from fuzzing.attack import METHODS, SERVICE, Attack
from toy_bundle import write_toy_bundle

from wan_trt.engine import Bundle
from wan_trt.server.calls import OpenAccess
from wan_trt.server.principal import EVERYBODY, Principal
from wan_trt.server.server import MAX_MESSAGE_NBYTES, Server

SECONDS = float(os.environ.get("WAN_TRT_FUZZ_SECONDS", "3"))
GROWTH_NBYTES = 100 << 20


def test_a_server_under_attack(tmp_path: Path) -> None:
    bundle = write_toy_bundle(tmp_path / "bundle").path
    found = fuzz.fuzz(bundle, tmp_path, SECONDS, seed=0, acts_a_round=50)
    assert found.acts > 0
    assert found.jobs["DONE"] > 0
    assert found.readers == 0
    assert found.after.descriptors <= found.before.descriptors + 5
    assert found.after.threads <= found.before.threads + 5
    assert found.after.resident_nbytes < found.before.resident_nbytes + GROWTH_NBYTES


@pytest.fixture(scope="module")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Without a model in it: what the frames show is of no matter here."""
    return write_toy_bundle(tmp_path_factory.mktemp("bundle") / "toy")


@pytest.fixture
def attack(server: Server) -> Iterator[Attack]:
    with grpc.insecure_channel(str(server.address)) as channel:
        yield Attack(channel)


@pytest.mark.parametrize(
    ("method", "content"),
    [*((method, b"\xff" * 20) for method in METHODS), ("Get", b"\x0a\x02\xff\xfe")],
)
def test_bytes_that_are_no_message_are_bad_input(
    attack: Attack, method: str, content: bytes
) -> None:
    """Nor are texts that are no Unicode."""
    answer = attack.call(method, content)
    assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
    assert answer.error is not None
    assert answer.error.kind == "InputError"


@pytest.mark.parametrize("method", METHODS)
def test_a_call_without_a_message_is_bad_input(attack: Attack, method: str) -> None:
    assert attack.call(method).code is grpc.StatusCode.INVALID_ARGUMENT


def test_a_client_that_is_gone_before_its_call_begins_is_no_bug(
    server: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, gone = threading.Event(), threading.Event()

    def slow(self: OpenAccess, context: grpc.ServicerContext) -> Principal:  # noqa: ARG001
        context.add_callback(gone.set)
        asked.set()
        assert gone.wait(30)
        return EVERYBODY

    monkeypatch.setattr(OpenAccess, "principal", slow)
    with grpc.insecure_channel(str(server.address)) as channel:
        make: Any = channel.unary_unary(f"/{SERVICE.full_name}/Bundles")
        call = make.future(b"")
        assert asked.wait(30)
        call.cancel()
        assert gone.wait(30)
    server.__exit__(None, None, None)  # all calls are over then
    assert "bug" not in caplog.text


@pytest.mark.parametrize("sent", [[], [bytes(MAX_MESSAGE_NBYTES + 1)]], ids=["none", "too long"])
def test_an_upload_that_breaks_before_its_header_is_no_bug(
    server: Server, sent: list[bytes]
) -> None:
    over = threading.Event()

    def messages() -> Iterator[bytes]:
        yield from sent
        over.wait(30)

    metrics = server.telemetry.metrics
    with grpc.insecure_channel(str(server.address)) as channel, ExitStack() as stack:
        stack.callback(over.set)
        make: Any = channel.stream_unary(f"/{SERVICE.full_name}/Upload")
        call = make.future(messages())
        if not sent:
            _until(lambda: metrics.calls_in_flight.labels("Upload")._value.get() == 1)
            call.cancel()
        _until(lambda: metrics.calls.labels("Upload", "CANCELLED")._value.get() == 1)


def _until(so: Callable[[], bool], within_s: float = 10.0) -> None:
    until = time.monotonic() + within_s
    while not so():
        assert time.monotonic() < until
        time.sleep(0.01)
