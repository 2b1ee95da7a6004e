"""Each row of the table of errors, provoked over a socket: its code, and what is told besides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
from google.rpc import error_details_pb2 as rpc
from grpc_status import rpc_status
from serving import MakeServer, MakeSubmission
from toy_bundle import write_toy_bundle

from wan_trt.engine import Bundle
from wan_trt.engine.choices import SamplingChoices
from wan_trt.engine.engine import Engine
from wan_trt.engine.errors import (
    AdmissionError,
    BundleError,
    CancelledError,
    CheckpointError,
    DeadlineError,
    ExecutionError,
    GateError,
    InputError,
    LoraError,
    MediaError,
    MediaLimitError,
    NotFoundError,
    ResourceError,
    StorageFullError,
    WanTrtError,
)
from wan_trt.engine.stages.pipeline import Pipeline
from wan_trt.media import MediaLimits
from wan_trt.server.address import Address
from wan_trt.server.calls import OpenAccess
from wan_trt.server.client import Client, Retries
from wan_trt.server.details import reason_of
from wan_trt.server.errors import (
    AuthenticationError,
    ConflictError,
    NotReadyError,
    PermissionDeniedError,
    QueueFullError,
    QuotaError,
    UnavailableError,
)
from wan_trt.server.jobs import JobOptions
from wan_trt.server.media_options import MediaOptions
from wan_trt.server.proto import wan_trt_v1_pb2 as wire
from wan_trt.server.proto import wan_trt_v1_pb2_grpc as wire_grpc
from wan_trt.server.server import Server, ServerOptions
from wan_trt.server.status import CODES
from wan_trt.server.submission import Submission

Details = dict[str, Any]

OF_OTHER_COMMANDS = {LoraError, CheckpointError, GateError}
"""Errors of `export` and `gate`: no call of the service raises them."""
ROWS: set[type[WanTrtError]] = set()
"""Those that a test here provokes."""


@pytest.fixture(scope="module")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Without a model in it: what the frames show is of no matter here."""
    return write_toy_bundle(tmp_path_factory.mktemp("bundle") / "toy")


Test = TypeVar("Test")


def row(*kinds: type[WanTrtError]) -> Callable[[Test], Test]:
    """Marks the test of a row."""
    ROWS.update(kinds)
    return lambda test: test


class Desk:
    """A server, our client of it, and the generated one."""

    def __init__(self, server: Server, make_submission: MakeSubmission) -> None:
        self.server = server
        self.client = Client(str(server.address), 60, retries=Retries(0))
        self.channel = grpc.insecure_channel(str(server.address))
        make: Any = wire_grpc.VideoServiceStub
        self.stub = make(self.channel)
        self._make_submission = make_submission

    def submission(self, **fields: object) -> Submission:
        return self._make_submission(self.client, **fields)

    def submit(self, **fields: object) -> str:
        return self.client.submit(self.submission(**fields))

    def follow(self, job_id: str) -> None:
        """Fetch a result when it is there; raises what the job ends with."""
        request = wire.FetchRequest(job_id=job_id, follow=True)
        for _ in self.stub.Fetch(request, timeout=60):
            pass

    def close(self) -> None:
        self.client.close()
        self.channel.close()


@pytest.fixture
def desk(make_server: MakeServer, make_submission: MakeSubmission) -> Iterator[Callable[..., Desk]]:
    """desk(**options): a server with them."""
    desks: list[Desk] = []

    def make(**options: Any) -> Desk:
        desks.append(Desk(make_server(**options), make_submission))
        return desks[-1]

    yield make
    for one in desks:
        one.close()


def provoked(
    kind: type[WanTrtError], act: Callable[[], object], code: grpc.StatusCode
) -> tuple[WanTrtError, Details]:
    """The error as our client sees it, and the details as everybody's; they tell the same."""
    with pytest.raises((grpc.RpcError, WanTrtError)) as raised:
        act()
    call: Any = raised.value
    if isinstance(call, WanTrtError):
        call = call.__context__
    assert call.code() is code is CODES[kind]
    status = rpc_status.from_call(call)
    details: Details = {}
    for packed in status.details:
        name = packed.TypeName().rpartition(".")[2]
        details[name] = getattr(rpc, name)()
        assert packed.Unpack(details[name])
    info = details["ErrorInfo"]
    assert (info.reason, info.domain) == (reason_of(kind.__name__), "wan-trt")
    metadata = dict(call.trailing_metadata())
    error = wire.Error.FromString(metadata["wan-trt-error-bin"])
    assert error.kind == kind.__name__
    assert status.message == call.details()
    assert kind in ROWS
    typed = kind(error.given, expected=error.expected, action=error.action, field=error.field)
    return typed, details


@row(InputError)
def test_input_error(desk: Callable[..., Desk]) -> None:
    at = desk()
    error, details = provoked(
        InputError,
        lambda: at.submit(sampling=SamplingChoices(steps=0)),
        grpc.StatusCode.INVALID_ARGUMENT,
    )
    assert error.field == "steps"
    (violation,) = details["BadRequest"].field_violations
    assert violation.field == "steps"
    assert "expected" in violation.description


@row(MediaError)
def test_media_error(desk: Callable[..., Desk], tmp_path: Path) -> None:
    at = desk()
    (tmp_path / "hero.png").write_bytes(b"no picture")
    reference = at.client.upload(tmp_path / "hero.png")
    _, details = provoked(
        MediaError, lambda: at.submit(reference=reference), grpc.StatusCode.INVALID_ARGUMENT
    )
    assert details["BadRequest"].field_violations[0].field == "reference"


@row(MediaLimitError)
def test_media_above_a_limit(desk: Callable[..., Desk]) -> None:
    limited = MediaOptions(MediaLimits(picture_pixels=100))
    at = desk(jobs=JobOptions(media=limited))
    _, details = provoked(MediaLimitError, at.submit, grpc.StatusCode.INVALID_ARGUMENT)
    assert details["BadRequest"].field_violations[0].field == "reference"


@row(NotFoundError)
@pytest.mark.parametrize(
    ("act", "kind", "name"),
    [
        (lambda at: at.client.get("nobody"), "job", "nobody"),
        (lambda at: at.submit(bundle="other"), "bundle", "other"),
        (lambda at: at.submit(pose="0" * 64), "upload", "0" * 64),
    ],
)
def test_not_found(
    desk: Callable[..., Desk], act: Callable[[Desk], object], kind: str, name: str
) -> None:
    at = desk()
    _, details = provoked(NotFoundError, lambda: act(at), grpc.StatusCode.NOT_FOUND)
    info = details["ResourceInfo"]
    assert info.resource_type == kind
    assert name in info.description


@row(NotReadyError)
def test_not_ready(desk: Callable[..., Desk]) -> None:
    at = desk()
    job_id = at.submit(steps=1000)
    provoked(
        NotReadyError,
        lambda: list(at.client.fetch_chunks(job_id)),
        grpc.StatusCode.FAILED_PRECONDITION,
    )


@row(ConflictError)
def test_conflict(desk: Callable[..., Desk]) -> None:
    at = desk()
    at.submit(idempotency_key="take 3")
    provoked(
        ConflictError,
        lambda: at.submit(idempotency_key="take 3", seed=4),
        grpc.StatusCode.ALREADY_EXISTS,
    )


@row(QueueFullError)
def test_a_full_queue(desk: Callable[..., Desk]) -> None:
    at = desk(jobs=JobOptions(max_unfinished=1))
    job_id = at.submit(steps=1000)
    next(event for event in at.client.watch(job_id) if event.eta_s is not None)
    _, details = provoked(QueueFullError, at.submit, grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert details["RetryInfo"].retry_delay.ToSeconds() >= 0


@row(ResourceError)
def test_too_many_streams(desk: Callable[..., Desk]) -> None:
    at = desk(streams=1)
    job_id = at.submit(steps=1000)
    watching = at.client.watch(job_id)
    next(watching)
    provoked(
        ResourceError,
        lambda: next(at.client.fetch_chunks(job_id)),
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    )


@row(StorageFullError)
def test_a_full_disk(desk: Callable[..., Desk]) -> None:
    at = desk()
    submission = at.submission(title="x" * 100, prompt="y" * 100_000)
    database = at.server._data.store._database
    with database.reading() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
    _, details = provoked(
        StorageFullError,
        lambda: at.client.submit(submission),
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    )
    assert details["RetryInfo"].retry_delay.ToSeconds() > 0


@row(AdmissionError)
def test_no_time_for_it(desk: Callable[..., Desk]) -> None:
    at = desk()
    at.client.wait(at.submit(steps=2))  # now it is known how long things take
    error, details = provoked(
        AdmissionError,
        lambda: at.submit(steps=1000, timeout_s=0.01),
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    )
    assert error.field == "timeout_s"
    assert details["RetryInfo"].retry_delay.ToMicroseconds() > 10_000


@row(DeadlineError)
def test_out_of_time(desk: Callable[..., Desk]) -> None:
    at = desk()
    job_id = at.submit(steps=1000, timeout_s=0.3)
    provoked(DeadlineError, lambda: at.follow(job_id), grpc.StatusCode.DEADLINE_EXCEEDED)


@row(UnavailableError)
def test_a_server_that_stops(desk: Callable[..., Desk]) -> None:
    at = desk()
    submission = at.submission()
    at.server.drain()
    _, details = provoked(
        UnavailableError, lambda: at.client.submit(submission), grpc.StatusCode.UNAVAILABLE
    )
    assert details["RetryInfo"].retry_delay.ToSeconds() > 0


@row(CancelledError)
def test_a_cancelled_job(desk: Callable[..., Desk]) -> None:
    at = desk()
    job_id = at.submit(steps=1000)
    at.client.cancel(job_id)
    provoked(CancelledError, lambda: at.follow(job_id), grpc.StatusCode.CANCELLED)


@row(ExecutionError)
def test_a_job_that_fails(desk: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Pipeline, "run", break_down)
    at = desk()
    job_id = at.submit()
    provoked(ExecutionError, lambda: at.follow(job_id), grpc.StatusCode.INTERNAL)


@row(BundleError)
def test_a_job_of_another_bundle(
    tiny_bundle: Bundle,
    make_submission: MakeSubmission,
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
) -> None:
    """A server that is started again with another bundle does not go on with the first one's."""
    options = ServerOptions(Address("127.0.0.1", 0), farewell_s=1.0)
    other = write_toy_bundle(tmp_path_factory.mktemp("other") / "toy", high=0.25)
    first = Server(Engine(tiny_bundle, threads=1), tmp_path / "data", options)
    with first, closing(Desk(first, make_submission)) as at:
        job_id = at.submit(steps=1000)
    second = Server(Engine(other, threads=1), tmp_path / "data", options)
    with second, closing(Desk(second, make_submission)) as at:
        provoked(BundleError, lambda: at.follow(job_id), grpc.StatusCode.FAILED_PRECONDITION)


@row(AuthenticationError, PermissionDeniedError, QuotaError)
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AuthenticationError("no token"), grpc.StatusCode.UNAUTHENTICATED),
        (PermissionDeniedError("not yours"), grpc.StatusCode.PERMISSION_DENIED),
        (
            QuotaError("3 jobs", subject="anna", what="unfinished_jobs", retry_after_s=2.5),
            grpc.StatusCode.RESOURCE_EXHAUSTED,
        ),
    ],
)
def test_who_calls(
    desk: Callable[..., Desk],
    monkeypatch: pytest.MonkeyPatch,
    error: WanTrtError,
    code: grpc.StatusCode,
) -> None:
    """What an Access raises; which tokens and quotas there are is tested elsewhere."""

    def refuse(*_: object) -> None:
        raise error

    at = desk()
    monkeypatch.setattr(OpenAccess, "principal", refuse)
    _, details = provoked(type(error), lambda: at.client.get("any"), code)
    if isinstance(error, QuotaError):
        (violation,) = details["QuotaFailure"].violations
        assert violation.subject == "anna"
        assert "unfinished_jobs" in violation.description
        assert details["RetryInfo"].retry_delay.ToMilliseconds() == 2500


def test_every_row_has_a_test() -> None:
    assert set(CODES) == ROWS | OF_OTHER_COMMANDS
