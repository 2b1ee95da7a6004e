"""Connections that are cut in the middle: each call goes on where it was."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from cutting_proxy import CuttingProxy, cutting_proxy
from serving import MakeSubmission
from toy_bundle import write_toy_bundle

from wan_trt.engine import Bundle
from wan_trt.server.client import Client
from wan_trt.server.proto import wan_trt_v1_pb2 as wire
from wan_trt.server.proto import wan_trt_v1_pb2_grpc as wire_grpc
from wan_trt.server.server import Server
from wan_trt.server.submission import OutputFormat

CHUNK = 1 << 16
CONTENT = np.random.default_rng(5).bytes(3 << 20)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(scope="module")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Without a model in it: what the frames show is of no matter here."""
    return write_toy_bundle(tmp_path_factory.mktemp("bundle") / "toy")


@pytest.fixture
def proxy(server: Server) -> Iterator[CuttingProxy]:
    with cutting_proxy(server.address.host, server.address.port) as proxy:
        yield proxy


@pytest.fixture
def far(proxy: CuttingProxy) -> Iterator[Any]:
    """The generated client, behind the proxy. It connects again by itself."""
    make: Any = wire_grpc.VideoServiceStub
    options = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(f"127.0.0.1:{proxy.port}", options=options) as channel:
        yield make(channel)


def messages(offset: int, content: bytes = CONTENT, **header: object) -> Iterator[Any]:
    values: dict[str, Any] = {"name": "a.png", "nbytes": len(CONTENT), "sha256": SHA256}
    yield wire.UploadRequest(header=wire.UploadHeader(**(values | header), offset=offset))
    for start in range(offset, len(content), CHUNK):
        yield wire.UploadRequest(chunk=content[start : start + CHUNK])


def status(stub: Any) -> Any:
    request = wire.UploadStatusRequest(name="a.png", sha256=SHA256)
    while True:
        try:
            return stub.UploadStatus(request, timeout=30, wait_for_ready=True)
        except grpc.RpcError as error:  # on what is left of the connection
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise


def cut_upload(far: Any, proxy: CuttingProxy, after: int, offset: int = 0) -> int:
    """How much of it is there then. What the server had not read when the connection went is lost
    with it: on a busy machine that may be all, and it is sent again."""
    nbytes = offset
    while nbytes <= offset:
        cuts = proxy.cuts
        while proxy.cuts == cuts:
            proxy.cut_after(after)
            with pytest.raises(grpc.RpcError):
                far.Upload(messages(offset), timeout=30)
        deadline = time.monotonic() + 3  # the server learns of it, too
        while nbytes <= offset and time.monotonic() < deadline:
            nbytes = status(far).received_nbytes
            time.sleep(0.01)
    return nbytes


def test_an_upload_goes_on(far: Any, proxy: CuttingProxy, tmp_path: Path) -> None:
    first = cut_upload(far, proxy, after=1 << 20)
    assert 0 < first < 1 << 20
    second = cut_upload(far, proxy, after=1 << 20, offset=first)
    assert first < second < 2 << 20
    reply = far.Upload(messages(second), timeout=30, wait_for_ready=True)
    assert proxy.cuts >= 2
    assert status(far).upload_id == reply.upload_id
    (stored,) = tmp_path.glob("data*/uploads/*")  # nothing is left of the beginnings
    assert stored.name == reply.upload_id
    assert stored.read_bytes() == CONTENT


def test_offsets_that_are_not_there(far: Any, proxy: CuttingProxy) -> None:
    there = cut_upload(far, proxy, after=1 << 20)
    for offset in (-1, there + 1):
        with pytest.raises(grpc.RpcError) as raised:
            far.Upload(messages(offset), timeout=30, wait_for_ready=True)
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert status(far).received_nbytes == there


def test_a_beginning_of_something_else_is_found_out(
    far: Any, proxy: CuttingProxy, tmp_path: Path
) -> None:
    there = cut_upload(far, proxy, after=1 << 20)
    (partial,) = tmp_path.glob("data*/uploads/.*.partial")
    partial.write_bytes(bytes(there))
    with pytest.raises(grpc.RpcError, match="sha256"):
        far.Upload(messages(there), timeout=30, wait_for_ready=True)
    assert far.Upload(messages(0), timeout=30).nbytes == len(CONTENT)


def test_two_who_send_one_file_do_not_disturb_each_other(far: Any, tmp_path: Path) -> None:
    slow = messages(0)

    def hesitating() -> Iterator[Any]:
        yield next(slow)
        yield next(slow)
        assert far.Upload(messages(0), timeout=30).nbytes == len(CONTENT)
        yield from slow

    assert far.Upload(hesitating(), timeout=60).nbytes == len(CONTENT)
    assert len(list(tmp_path.glob("data*/uploads/*"))) == 1


def test_watching_goes_on(
    far: Any, proxy: CuttingProxy, client: Client, make_submission: MakeSubmission
) -> None:
    job_id = client.submit(make_submission(client, steps=30))
    seen: list[int] = []
    proxy.cut_after(3000)
    while True:
        request = wire.WatchRequest(job_id=job_id, after_sequence=seen[-1] if seen else 0)
        try:
            for event in far.Watch(request, timeout=60, wait_for_ready=True):
                seen.append(event.sequence)
            break
        except grpc.RpcError:
            if proxy.cuts < 3:
                proxy.cut_after(3000)
    assert proxy.cuts >= 1
    assert seen == list(range(1, client.get(job_id).latest.sequence + 1))


def test_fetching_goes_on(
    far: Any, proxy: CuttingProxy, client: Client, make_submission: MakeSubmission
) -> None:
    job_id = client.submit(make_submission(client, output_format=OutputFormat.RAW))
    client.wait(job_id)
    whole = b"".join(client.fetch_chunks(job_id))
    for artifact in (wire.ARTIFACT_RESULT, wire.ARTIFACT_FRAMES):
        content, cuts = b"", proxy.cuts
        proxy.cut_after(len(whole) // 2)
        while len(content) < len(whole):
            request = wire.FetchRequest(job_id=job_id, offset=len(content), artifact=artifact)
            try:
                for part in far.Fetch(request, timeout=60, wait_for_ready=True):
                    assert part.offset == len(content)
                    content += part.chunk
            except grpc.RpcError:
                assert proxy.cuts == cuts + 1
        assert proxy.cuts == cuts + 1
        assert content == whole
