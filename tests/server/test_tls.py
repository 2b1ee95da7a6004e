"""TLS over real sockets, with certificates of a made-up authority."""

from __future__ import annotations

import logging
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from made_up_ca import MadeUpCa, Pair
from serving import MakeServer

from wan_trt.engine.errors import InputError, NotFoundError
from wan_trt.server.client import Client, Retries
from wan_trt.server.client.connection import ClientTls
from wan_trt.server.errors import UnavailableError
from wan_trt.server.security import SecurityOptions
from wan_trt.server.server import Server
from wan_trt.server.tls import ServerTls, TlsFiles


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> MadeUpCa:
    return MadeUpCa(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def files(tmp_path: Path, ca: MadeUpCa) -> TlsFiles:
    """Where a server looks; what is there is valid."""
    files = TlsFiles(tmp_path / "server.pem", tmp_path / "server.key")
    put(files, ca.sign("server"))
    return files


def put(files: TlsFiles, pair: Pair) -> None:
    """As an operator does: new files take the place of the old ones, one after the other."""
    for source, target in ((pair.certificate, files.certificate), (pair.key, files.key)):
        shutil.copyfile(source, target.with_suffix(".new"))
        target.with_suffix(".new").replace(target)


def test_who_trusts_the_authority_is_served(
    make_server: MakeServer, files: TlsFiles, ca: MadeUpCa, tmp_path: Path
) -> None:
    server = make_server(security=SecurityOptions(tls=files))
    with Client(str(server.address), tls=ClientTls(ca.certificate)) as client:
        client.require_serving()
        with pytest.raises(NotFoundError):
            client.get("nobody")
    stranger = MadeUpCa(tmp_path / "other")
    for tls, words in (
        (ClientTls(stranger.certificate), "TLS handshake .* failed"),
        (ClientTls(), "TLS handshake .* failed"),
        (None, r"hangs up; .* it may want TLS \(--tls-ca\)"),
    ):
        with (
            Client(str(server.address), tls=tls) as client,
            pytest.raises(UnavailableError, match=words),
        ):
            client.require_serving()


@pytest.fixture
def mutual(make_server: MakeServer, files: TlsFiles, ca: MadeUpCa) -> Server:
    tls = TlsFiles(files.certificate, files.key, ca.certificate)
    return make_server(security=SecurityOptions(tls=tls))


def test_without_a_certificate_of_the_authority_nobody_is_served(
    mutual: Server, ca: MadeUpCa, tmp_path: Path
) -> None:
    good = ca.sign("client", names=("farm.example",))
    tls = ClientTls(ca.certificate, good.certificate, good.key)
    with Client(str(mutual.address), tls=tls) as client, pytest.raises(NotFoundError):
        client.get("nobody")
    expired = ca.sign("expired", lasts=timedelta(days=-1))
    foreign = MadeUpCa(tmp_path / "other").sign("foreign")
    for pair in (expired, foreign, None):
        tls = ClientTls(ca.certificate, *((pair.certificate, pair.key) if pair else ()))
        client = Client(str(mutual.address), tls=tls, retries=Retries(0))
        with client, pytest.raises(UnavailableError):
            client.get("nobody")


def test_new_files_serve_new_connections_and_old_connections_go_on(
    make_server: MakeServer,
    files: TlsFiles,
    ca: MadeUpCa,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = make_server(security=SecurityOptions(tls=files))
    address = str(server.address)
    other = MadeUpCa(tmp_path / "other")
    with Client(address, tls=ClientTls(ca.certificate)) as before:
        before.require_serving()
        put(files, other.sign("server", lasts=timedelta(days=10)))
        with Client(address, tls=ClientTls(other.certificate)) as after:
            after.require_serving()
        before.require_serving()
        assert server.tls_expires is not None
        assert server.tls_expires - datetime.now(UTC) < timedelta(days=11)

        files.key.write_text("no key")
        with Client(address, tls=ClientTls(other.certificate)) as still:
            still.require_serving()
        assert "no private key" in caplog.text
        before.require_serving()


def test_what_does_not_belong_together_is_refused(files: TlsFiles, ca: MadeUpCa) -> None:
    other = ca.sign("other")
    expired = ca.sign("expired", lasts=timedelta(days=-1))
    for wrong, words in (
        (TlsFiles(files.certificate, other.key), "another certificate's key"),
        (TlsFiles(expired.certificate, expired.key), "valid from"),
        (TlsFiles(files.key, files.key), "no certificates"),
        (TlsFiles(files.certificate, files.certificate), "no private key"),
        (TlsFiles(files.certificate.with_name("none"), files.key), "cannot be read"),
        (TlsFiles(files.certificate, files.key, files.key), "no certificates"),
    ):
        with pytest.raises(InputError, match=words):
            ServerTls(wrong)


def test_the_end_of_a_certificate_is_told_ahead(
    files: TlsFiles, ca: MadeUpCa, caplog: pytest.LogCaptureFixture
) -> None:
    tls = ServerTls(files)
    tls.warn_of_expiry()
    assert not caplog.records
    put(files, ca.sign("short", lasts=timedelta(days=20)))
    for _ in range(3):
        tls.warn_of_expiry()
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert str(files.certificate) in caplog.text


def test_a_client_without_tls_gets_no_plain_text(make_server: MakeServer, files: TlsFiles) -> None:
    server = make_server(security=SecurityOptions(tls=files))
    with grpc.insecure_channel(str(server.address)) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        with pytest.raises(grpc.RpcError) as raised:
            stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
