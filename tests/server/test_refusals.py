"""Bad input over a socket: every answer is typed, one line, and in the client's own words."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from safetensors.numpy import save_file
from serving import MakeServer, MakeSubmission, MediaFiles

from wan_trt.engine import Mode
from wan_trt.engine.choices import SamplingChoices
from wan_trt.engine.errors import (
    InputError,
    MediaError,
    NotFoundError,
    ResourceError,
    WanTrtError,
)
from wan_trt.server.client import Client, Retries
from wan_trt.server.errors import NotReadyError, UnavailableError
from wan_trt.server.jobs import JobOptions
from wan_trt.server.proto import wan_trt_v1_pb2 as wire
from wan_trt.server.proto import wan_trt_v1_pb2_grpc as wire_grpc
from wan_trt.server.server import Server
from wan_trt.server.status import ERROR_KEY


@pytest.fixture
def stub(server: Server) -> Iterator[Any]:
    """The generated client, without ours around it."""
    make: Any = wire_grpc.VideoServiceStub
    with grpc.insecure_channel(str(server.address)) as channel:
        yield make(channel)


def refused(call: Callable[[], object]) -> tuple[grpc.StatusCode, wire.Error, str]:
    """Code, error and message of a call that must fail."""
    with pytest.raises(grpc.RpcError) as raised:
        call()
    error: Any = raised.value
    metadata = dict(error.trailing_metadata())
    message = wire.Error.FromString(metadata[ERROR_KEY])
    assert "\n" not in error.details()
    return error.code(), message, error.details()


def upload_of(content: bytes, **header: object) -> list[wire.UploadRequest]:
    values: dict[str, Any] = {
        "name": "a.png",
        "nbytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    return [
        wire.UploadRequest(header=wire.UploadHeader(**(values | header))),
        wire.UploadRequest(chunk=content),
    ]


def test_jobs_that_are_not_known(client: Client, stub: Any) -> None:
    for call in (
        lambda: client.get("nobody"),
        lambda: client.cancel("nobody"),
        lambda: list(client.watch("nobody")),
        lambda: list(client.fetch_chunks("nobody")),
    ):
        with pytest.raises(NotFoundError, match="nobody"):
            call()
    code, error, _ = refused(lambda: stub.Get(wire.GetRequest(job_id="nobody"), timeout=30))
    assert code is grpc.StatusCode.NOT_FOUND
    assert (error.kind, error.exit_code, error.field) == ("NotFoundError", 2, "job_id")


def test_fetching_before_the_end(
    client: Client, stub: Any, make_submission: MakeSubmission, tmp_path: Path
) -> None:
    job_id = client.submit(make_submission(client, steps=500))
    code, error, text = refused(lambda: list(stub.Fetch(wire.FetchRequest(job_id=job_id))))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert error.kind == "NotReadyError"
    assert job_id in text
    assert "watch it" in text
    with pytest.raises(NotReadyError):
        client.fetch(job_id, tmp_path / "out.safetensors")
    assert not list(tmp_path.glob("*out*"))
    client.cancel(job_id)


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"sampling": SamplingChoices(steps=0)}, "steps", "whole number"),
        ({"sampling": SamplingChoices(shift=float("nan"))}, "shift", "nan"),
        ({"sampling": SamplingChoices(guidance=(-1, 1))}, "guidance", "-1"),
        ({"overlap": 3}, "overlap", "1 or 5"),
        ({"segment_frames": 6}, "segment_frames", r"4n\+1"),
        ({"mode": Mode.REPLACE}, "background", "missing in replace mode"),
        ({"pose": "../../etc/passwd"}, "pose", "what Upload returned"),
        ({"pose": ""}, "pose", "missing"),
        ({"last_frame": "../../etc/passwd"}, "last_frame", "what Upload returned"),
        ({"frames": 9}, "frames", "the bundle holds wan2.2-animate"),
        ({"seed": -1}, None, "seed"),
        ({"negative_prompt": "blurry"}, "negative_prompt", "nothing reads it"),
        ({"prompt": "\udc00"}, None, "Unicode"),
    ],
)
def test_requests_that_cannot_be_done(
    client: Client,
    make_submission: MakeSubmission,
    fields: dict[str, object],
    field: str | None,
    words: str,
) -> None:
    submission = make_submission(client, **fields)
    with pytest.raises(InputError, match=words) as raised:
        client.submit(submission)
    assert raised.value.field == field
    assert raised.value.exit_code == 2


def test_an_upload_that_is_not_known(client: Client, make_submission: MakeSubmission) -> None:
    with pytest.raises(NotFoundError, match=r"^face: no upload"):
        client.submit(make_submission(client, face="0" * 64 + ".mp4"))


def test_a_choice_of_a_later_version(stub: Any) -> None:
    request = wire.SubmitRequest(reference="a", pose="b", face="c")
    request.mode = 77  # type: ignore[assignment]
    code, error, text = refused(lambda: stub.Submit(request, timeout=30))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert error.field == "mode"
    assert "77" in text
    assert "1 (animate), 2 (replace)" in text


def test_media_errors_name_the_clients_file_and_not_the_servers(
    client: Client, make_submission: MakeSubmission, tmp_path: Path
) -> None:
    broken = tmp_path / "holiday.mp4"
    broken.write_bytes(b"not a video at all")
    with pytest.raises(MediaError, match=r"^pose: holiday.mp4: not a video") as raised:
        client.submit(make_submission(client, pose=client.upload(broken)))
    assert str(tmp_path) not in str(raised.value)


def test_noise_that_does_not_reach_to_the_end(
    client: Client, make_submission: MakeSubmission, tmp_path: Path
) -> None:
    noise = tmp_path / "noise.safetensors"
    save_file({"segment.0": np.zeros((16, 3, 4, 6), np.float32)}, noise)
    with pytest.raises(InputError, match=r"^noise: noise.safetensors: no tensor segment.1"):
        client.submit(make_submission(client, seed=None, noise=client.upload(noise)))


@pytest.mark.parametrize("seed", [0, 3])
def test_noise_and_a_seed(
    client: Client, make_submission: MakeSubmission, tmp_path: Path, seed: int
) -> None:
    """A seed of 0 is a seed that was given."""
    save_file({"segment.0": np.zeros((16, 3, 4, 6), np.float32)}, tmp_path / "n.safetensors")
    noise = client.upload(tmp_path / "n.safetensors")
    with pytest.raises(InputError, match=rf"^seed: {seed}, given together with noise"):
        client.submit(make_submission(client, seed=seed, noise=noise))


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([wire.UploadRequest(chunk=b"no header")], "header"),
        ([], "header"),
        (upload_of(b"content", sha256="0" * 64), "sha256"),
        (upload_of(b"content", sha256="../" * 20), "sha256"),
        (upload_of(b"content", nbytes=6), "chunk"),
        (upload_of(b"content", nbytes=8), "sha256"),
        (upload_of(b""), "nbytes"),
        (upload_of(b"content", nbytes=1 << 50), "nbytes"),
        (upload_of(bytes((1 << 20) + 1)), "chunk"),
    ],
)
def test_uploads_that_are_refused(
    stub: Any, messages: list[wire.UploadRequest], field: str, tmp_path: Path
) -> None:
    code, error, _ = refused(lambda: stub.Upload(iter(messages), timeout=30))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert error.field == field
    assert not list(tmp_path.glob("data*/uploads/*"))
    assert not list(tmp_path.glob("data*/uploads/.*"))


def test_names_of_files_do_not_reach_the_disk(stub: Any, tmp_path: Path) -> None:
    for name in ("../../up.png", "/abs.png", "a.p/ng", "new\nline", "nul\0.png", "x.MP4", ""):
        content = name.encode() + b"!"
        reply = stub.Upload(iter(upload_of(content, name=name)), timeout=30)
        assert reply.upload_id.startswith(hashlib.sha256(content).hexdigest())
    stored = {path.name for path in tmp_path.glob("data*/uploads/*")}
    assert len(stored) == 7
    assert {name[64:] for name in stored} == {"", ".png", ".mp4"}


def test_the_same_file_is_stored_once(client: Client, media_files: MediaFiles) -> None:
    assert client.upload(media_files.pose) == client.upload(media_files.pose, name="other")


def test_files_that_are_not_there(client: Client, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"^--pose: .*no such file"):
        client.upload(tmp_path / "missing.mp4", field="--pose")
    with pytest.raises(MediaError):
        client.upload(tmp_path / "missing.%04d.png")


def test_messages_are_bounded(stub: Any) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        stub.Submit(wire.SubmitRequest(reference="a" * (3 << 20)), timeout=30)
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("after", [-1, 1000])
def test_watching_from_a_number_that_was_never_sent(
    client: Client, make_submission: MakeSubmission, after: int
) -> None:
    job_id = client.submit(make_submission(client))
    client.wait(job_id)
    with pytest.raises(InputError, match="after_sequence"):
        list(client.watch(job_id, after))
    with pytest.raises(InputError, match="offset"):
        list(client.fetch_chunks(job_id, -1 if after < 0 else 1 << 40))


def test_too_many_jobs(make_server: MakeServer, make_submission: MakeSubmission) -> None:
    with Client(str(make_server(jobs=JobOptions(max_unfinished=1)).address)) as client:
        submission = make_submission(client, steps=1000)
        job_id = client.submit(submission)
        with pytest.raises(ResourceError, match="1 jobs wait"):
            client.submit(submission)
        client.cancel(job_id)
        with pytest.raises(WanTrtError):
            client.wait(job_id)
        client.cancel(client.submit(submission))


def test_no_server() -> None:
    client = Client("127.0.0.1:1", retries=Retries(0))
    with client, pytest.raises(UnavailableError, match="no server") as e:
        client.get("job")
    assert e.value.exit_code == 3
