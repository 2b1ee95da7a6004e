"""Who may call: tokens and certificates over a socket."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from made_up_ca import MadeUpCa
from serving import MakeServer, MakeSubmission

from wan_trt.engine import JobState
from wan_trt.engine.errors import InputError, NotFoundError, WanTrtError
from wan_trt.server import first_look
from wan_trt.server.access import FAILURES_A_MINUTE
from wan_trt.server.access_file import read_access_file
from wan_trt.server.address import Address
from wan_trt.server.client import Client
from wan_trt.server.client.connection import ClientTls, Metadata, bearer, open_channel
from wan_trt.server.errors import AuthenticationError, QuotaError
from wan_trt.server.first_look import MAX_HEALTH_CALLS
from wan_trt.server.proto import wan_trt_v1_pb2 as wire
from wan_trt.server.proto import wan_trt_v1_pb2_grpc as wire_grpc
from wan_trt.server.security import SecurityOptions
from wan_trt.server.server import SERVICE_NAME, Server
from wan_trt.server.tls import TlsFiles
from wan_trt.server.tokens import hash_of_token, new_token

TOKENS = {name: new_token() for name in ("anna", "bert", "root", "late")}


def entry(name: str, *lines: str) -> str:
    known = hash_of_token(TOKENS[name])
    return "\n".join(
        ("[[principal]]", f'name = "{name}"', f'token_sha256 = ["{known}"]', *lines, "")
    )


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    path = tmp_path / "access.toml"
    yesterday = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    path.write_text(
        entry("anna")
        + entry("bert")
        + entry("root", "admin = true")
        + entry("late", f"expires = {yesterday}")
    )
    return path


@pytest.fixture
def guarded(make_server: MakeServer, listed: Path) -> Server:
    return make_server(security=SecurityOptions(access=listed))


def calls_with_a_job_id(job_id: str) -> dict[str, Callable[[Any], object]]:
    """What the generated client sends, by method, of all methods of the service that name a job."""
    service = wire.DESCRIPTOR.services_by_name["VideoService"]
    calls: dict[str, Callable[[Any], object]] = {}
    for method in service.methods:
        if "job_id" not in method.input_type.fields_by_name:
            continue
        request = getattr(wire, method.input_type.name)(job_id=job_id)

        def call(stub: Any, name: str = method.name, request: Any = request) -> object:
            reply = getattr(stub, name)(request, timeout=30)
            return list(reply) if hasattr(reply, "__iter__") else reply

        calls[method.name] = call
    return calls


class Showing:
    """The generated client, each call with the same metadata."""

    def __init__(self, stub: Any, metadata: Metadata) -> None:
        self._stub = stub
        self._metadata = metadata

    def __getattr__(self, name: str) -> Any:
        return partial(getattr(self._stub, name), metadata=self._metadata)


def stub_of(server: Server, token: str) -> Any:
    make: Any = wire_grpc.VideoServiceStub
    return Showing(make(open_channel(server.address, None)), bearer(server.address, None, token))


def test_who_shows_a_listed_token_is_let_in(guarded: Server) -> None:
    for name in ("anna", "root"):
        client = Client(str(guarded.address), token=TOKENS[name])
        with client, pytest.raises(NotFoundError):
            client.get("nobody")
    for token in (None, new_token(), TOKENS["late"], TOKENS["anna"][:-1], "%"):
        with Client(str(guarded.address), token=token) as client:
            client.require_serving()
            with pytest.raises(AuthenticationError) as raised:
                client.get("nobody")
            assert raised.value.exit_code == 2
            assert token is None or token not in str(raised.value)


def test_strangers_learn_nothing_of_a_job(guarded: Server, make_submission: MakeSubmission) -> None:
    address = str(guarded.address)
    with Client(address, token=TOKENS["anna"]) as anna:
        job_id = anna.submit(make_submission(anna, steps=500))
    calls = calls_with_a_job_id(job_id)
    assert {"Get", "Watch", "Cancel", "Fetch"} <= calls.keys()
    stub = stub_of(guarded, TOKENS["bert"])
    for name, call in calls.items():
        with pytest.raises(grpc.RpcError) as raised:
            call(stub)
        error: Any = raised.value
        assert error.code() is grpc.StatusCode.NOT_FOUND, name
    with Client(address, token=TOKENS["root"]) as root:
        assert root.cancel(job_id).job_id == job_id
        with pytest.raises(WanTrtError):
            root.wait(job_id)
    with Client(address, token=TOKENS["anna"]) as anna:
        assert anna.get(job_id).state is JobState.CANCELLED


def test_somebody_elses_upload_cannot_be_submitted(
    guarded: Server, make_submission: MakeSubmission
) -> None:
    with (
        Client(str(guarded.address), token=TOKENS["anna"]) as anna,
        Client(str(guarded.address), token=TOKENS["bert"]) as bert,
    ):
        with pytest.raises(NotFoundError, match="no upload"):
            bert.submit(make_submission(anna))
        theirs = bert.submit(make_submission(bert, idempotency_key="shot"))
        mine = anna.submit(make_submission(anna, idempotency_key="shot"))
        assert theirs != mine


def test_the_list_is_read_again(
    guarded: Server, listed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Client(str(guarded.address), token=TOKENS["bert"]) as bert:
        with pytest.raises(NotFoundError):
            bert.get("nobody")
        listed.write_text(entry("anna"))
        with pytest.raises(AuthenticationError):
            bert.get("nobody")
        listed.write_text(entry("anna") + entry("bert"))
        with pytest.raises(NotFoundError):
            bert.get("nobody")
        listed.write_text(entry("anna") + "[[principal]]\nnmae = 1\n")
        with pytest.raises(NotFoundError):
            bert.get("nobody")
        assert "nmae" in caplog.text
        listed.unlink()
        with pytest.raises(NotFoundError):
            bert.get("nobody")


def test_failures_are_told_and_counted_without_the_token(
    guarded: Server, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = new_token()
    with Client(str(guarded.address), token=wrong) as client:
        for _ in range(FAILURES_A_MINUTE):
            with pytest.raises(AuthenticationError):
                client.get("nobody")
        with pytest.raises(QuotaError) as raised:
            client.get("nobody")
    assert "without a valid token" in str(raised.value)
    warnings = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == FAILURES_A_MINUTE + 1
    assert "127.0.0.1" in caplog.text
    assert wrong not in caplog.text
    with (
        Client(str(guarded.address), token=TOKENS["anna"]) as anna,
        pytest.raises(NotFoundError),
    ):
        anna.get("nobody")


@pytest.mark.parametrize("opened", [False, True])
def test_reflection_needs_access_unless_it_is_opened(
    make_server: MakeServer, listed: Path, opened: bool
) -> None:
    server = make_server(security=SecurityOptions(access=listed, open_reflection=opened))
    with grpc.insecure_channel(str(server.address)) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        if opened:
            assert SERVICE_NAME in database.get_services()
        else:
            with pytest.raises(grpc.RpcError) as raised:
                database.get_services()
            error: Any = raised.value
            assert error.code() is grpc.StatusCode.UNAUTHENTICATED


def test_calls_that_never_send_their_message_hold_no_threads(
    make_server: MakeServer, listed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_server(security=SecurityOptions(access=listed), streams=2, short_calls=10)
    over = threading.Event()

    def silent() -> Iterator[bytes]:
        over.wait(60)
        yield from ()

    def code_of(call: Any) -> grpc.StatusCode:
        code: grpc.StatusCode = call.exception(30).code()
        return code

    with grpc.insecure_channel(str(server.address)) as channel, ExitStack() as stack:
        stack.callback(over.set)
        get: Any = channel.stream_unary(f"/{SERVICE_NAME}/Get")
        check: Any = channel.stream_unary("/grpc.health.v1.Health/Check")
        for _ in range(FAILURES_A_MINUTE):
            assert code_of(get.future(silent(), timeout=60)) is grpc.StatusCode.UNAUTHENTICATED

        monkeypatch.setattr(first_look, "HEALTH_MESSAGE_WITHIN_S", 60.0)
        checks: list[Any] = [check.future(silent(), timeout=60) for _ in range(30)]
        while sum(not call.done() for call in checks) > MAX_HEALTH_CALLS:
            time.sleep(0.01)
        refused = {code_of(call) for call in checks if call.done()}
        # UNAVAILABLE is gRPC's own word for a stream that is reset before its answer is out.
        assert refused - {grpc.StatusCode.UNAVAILABLE} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        with Client(str(server.address), token=TOKENS["anna"]) as anna:
            with pytest.raises(NotFoundError):
                anna.get("nobody")
            for call in checks:
                call.cancel()
            monkeypatch.setattr(first_look, "HEALTH_MESSAGE_WITHIN_S", 0.1)
            while (code := code_of(check.future(silent(), timeout=60))) is (
                grpc.StatusCode.RESOURCE_EXHAUSTED
            ):
                time.sleep(0.01)  # until the server knows that the others were cancelled
            assert code is grpc.StatusCode.CANCELLED
            anna.require_serving()


def test_a_certificate_says_who_calls(
    make_server: MakeServer, tmp_path: Path, make_submission: MakeSubmission
) -> None:
    ca = MadeUpCa(tmp_path / "ca")
    own = ca.sign("server")
    files = TlsFiles(own.certificate, own.key, ca.certificate)
    farm = ca.sign("farm", names=("farm.example", "other.example"))
    plain = ca.sign("plain", common_name="plain", names=())

    def client(server: Server, pair: Any, token: str | None = None) -> Client:
        tls = ClientTls(ca.certificate, pair.certificate, pair.key)
        return Client(str(server.address), tls=tls, token=token)

    by_name = make_server(security=SecurityOptions(tls=files))
    with client(by_name, farm) as first, client(by_name, plain) as second:
        job_id = first.submit(make_submission(first))
        first.get(job_id)
        with pytest.raises(NotFoundError):
            second.get(job_id)

    listed = tmp_path / "access.toml"
    listed.write_text(
        '[[principal]]\nname = "farm"\ncertificate = "other.example"\n' + entry("anna")
    )
    server = make_server(security=SecurityOptions(tls=files, access=listed))
    with client(server, farm) as farmer, pytest.raises(NotFoundError):
        farmer.get("nobody")
    with client(server, plain) as plain_one, pytest.raises(AuthenticationError):
        plain_one.get("nobody")
    with client(server, plain, TOKENS["anna"]) as anna, pytest.raises(NotFoundError):
        anna.get("nobody")
    with client(server, farm, new_token()) as wrong, pytest.raises(AuthenticationError):
        wrong.get("nobody")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[principal]\n", "not TOML"),
        ("principals = 1\n", "key principals"),
        ("[[principal]]\ntoken_sha256 = []\n", "name None"),
        ('[[principal]]\nname = "a"\n', "no way to show who they are"),
        ('[[principal]]\nname = "a b"\n', "printable"),
        ('[[principal]]\nname = "a"\ntoken_sha256 = ["aa"]\n', "64 lower-case"),
        ('[[principal]]\nname = "a"\ncertificate = "a"\nadmin = 1\n', "true or false"),
        ('[[principal]]\nname = "a"\ncertificate = "a"\nadmn = true\n', "key admn"),
        ('[[principal]]\nname = "a"\ncertificate = "a"\nexpires = 2027-01-01T00:00:00\n', "zone"),
        ('[[principal]]\nname = "a"\ncertificate = "a"\nquota.streams = -1\n', "0 or more"),
        ('[[principal]]\nname = "a"\ncertificate = "a"\nquota.streams = true\n', "a number"),
        ('[[principal]]\nname = "a"\ncertificate = "a"\nquota.stream = 1\n', "key stream"),
        ('[[principal]]\nname = "a"\ncertificate = "a"\n' * 2, "one name twice"),
    ],
)
def test_a_wrong_list_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "access.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as raised:
        read_access_file(path)
    assert str(path) in str(raised.value)
    assert raised.value.field == "access"


def test_a_token_is_not_sent_in_plain_text_over_a_network() -> None:
    with pytest.raises(InputError, match="everybody on the way"):
        Client("192.0.2.1:50051", token=new_token())
    Client("192.0.2.1:50051", token=new_token(), tls=ClientTls()).close()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "server.example"])
def test_nobody_listens_to_a_network_without_tls_and_access(
    host: str, listed: Path, tmp_path: Path
) -> None:
    files = TlsFiles(tmp_path / "a", tmp_path / "b")
    mutual = TlsFiles(tmp_path / "a", tmp_path / "b", tmp_path / "c")
    address = Address(host, 1)
    for unsafe in (
        SecurityOptions(),
        SecurityOptions(tls=files),
        SecurityOptions(access=listed),
    ):
        with pytest.raises(InputError, match="insecure-listen"):
            unsafe.require_safe(address)
        unsafe.require_safe(Address("127.0.0.1", 1))
    for safe in (
        SecurityOptions(tls=files, access=listed),
        SecurityOptions(tls=mutual),
        SecurityOptions(insecure=True),
    ):
        safe.require_safe(address)
