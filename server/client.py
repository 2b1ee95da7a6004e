"""A typed client of one server.

    with Client("127.0.0.1:50051") as client:
        job_id = client.submit(
            Submission(
                reference=client.upload("hero.png"),
                pose=client.upload("pose.mp4"),
                face=client.upload("face.mp4"),
            )
        )
        for event in client.watch(job_id):
            print(event.state, event.step, event.steps)
        client.fetch(job_id, "hero.mp4")

Every method raises the error that the server met, as the class it has there, and UnavailableError
where no server answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from wan_trt.engine.errors import ExecutionError
from wan_trt.engine.request import Event
from wan_trt.media.partial_output import whole_file
from wan_trt.server.address import DEFAULT_ADDRESS, Address
from wan_trt.server.connection import ClientTls, open_channel
from wan_trt.server.errors import UnavailableError
from wan_trt.server.messages import event_from_wire, status_from_wire
from wan_trt.server.proto import wan_trt_v1_pb2 as wire
from wan_trt.server.proto import wan_trt_v1_pb2_grpc as wire_grpc
from wan_trt.server.sendable import sendable_file, upload_header, upload_messages
from wan_trt.server.status import error_of_call
from wan_trt.server.submission import JobStatus, Submission
from wan_trt.server.submission_messages import submission_to_wire


class Client:
    """One connection, made when it is first needed; safe to use from several threads."""

    def __init__(
        self,
        target: str = DEFAULT_ADDRESS,
        timeout_s: float = 300.0,
        *,
        token: str | None = None,
        tls: ClientTls | None = None,
    ) -> None:
        """`timeout_s` limits each short call (the longest is `submit`, which checks the
        files); transfers and watching may last. `token` shows who calls; `tls` None is a
        connection without encryption. Raises InputError for what is not HOST:PORT, for files of
        `tls` that cannot be used, and for a token that would go unencrypted over a network."""
        address = Address.parse(target, "server")
        self.target = str(address)
        self._timeout_s = timeout_s
        self._channel = open_channel(address, tls, token)
        stub: Any = wire_grpc.VideoServiceStub
        self._stub = stub(self._channel)
        self._health: Any = health_pb2_grpc.HealthStub(self._channel)

    def require_serving(self, timeout_s: float = 5.0) -> None:
        """Return if the server takes jobs; it is asked by gRPC's health protocol. Raises
        UnavailableError where none answers in time, and while one is stopping."""
        with self._call():
            reply = self._health.Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
        if reply.status != health_pb2.HealthCheckResponse.SERVING:
            raise UnavailableError(
                f"the server at {self.target} is stopping",
                action="use another, or try again later",
                field="server",
            )

    def upload(self, path: Path | str, *, field: str | None = None, name: str | None = None) -> str:
        """Send a file, or the frames of an image-sequence pattern, and return its upload id.

        `field` names the option in errors; `name` is what the server calls the file in its own.
        """
        path = Path(path)
        with sendable_file(path, field) as file:
            header = upload_header(file, (name or path.stem) + file.suffix, field)
            with self._call():
                reply: wire.UploadResponse = self._stub.Upload(upload_messages(header, file))
        return reply.upload_id

    def submit(self, submission: Submission) -> str:
        """Ask for a video and return its job's id. Files are checked before this returns."""
        message = submission_to_wire(submission)
        with self._call():
            job: wire.Job = self._stub.Submit(message, timeout=self._timeout_s)
        return job.job_id

    def get(self, job_id: str) -> JobStatus:
        with self._call():
            job: wire.Job = self._stub.Get(wire.GetRequest(job_id=job_id), timeout=self._timeout_s)
        return status_from_wire(job)

    def watch(self, job_id: str, after_sequence: int = 0) -> Iterator[Event]:
        """Events above a sequence number, as they come, up to the job's final one."""
        request = wire.WatchRequest(job_id=job_id, after_sequence=after_sequence)
        for message in self._stream(self._stub.Watch, request):
            yield event_from_wire(message)

    def wait(
        self,
        job_id: str,
        on_event: Callable[[Event], None] | None = None,
        after_sequence: int = 0,
    ) -> Event:
        """Watch a job to its end and return its final event. Raises the error that ended it."""
        last: Event | None = None
        for event in self.watch(job_id, after_sequence):
            last = event
            if on_event is not None:
                on_event(event)
        if last is None:
            last = self.get(job_id).latest
        if last.error is not None:
            raise last.error
        return last

    def cancel(self, job_id: str) -> JobStatus:
        """Stop a job; its final event comes within one step."""
        with self._call():
            job: wire.Job = self._stub.Cancel(
                wire.CancelRequest(job_id=job_id), timeout=self._timeout_s
            )
        return status_from_wire(job)

    def fetch_chunks(self, job_id: str, offset: int = 0) -> Iterator[bytes]:
        """The content of a result from an offset. Raises UnavailableError if it is cut short."""
        request = wire.FetchRequest(job_id=job_id, offset=offset)
        message: wire.FetchResponse | None = None
        for message in self._stream(self._stub.Fetch, request):
            if message.offset != offset:
                raise ExecutionError(
                    f"job {job_id}: content from byte {message.offset}", expected=f"{offset}"
                )
            offset += len(message.chunk)
            yield message.chunk
        if message is not None and offset != message.nbytes:
            raise UnavailableError(
                f"job {job_id}: the result ended after {offset} bytes",
                expected=f"{message.nbytes}",
                action="fetch it again",
            )

    def fetch(self, job_id: str, out: Path | str) -> None:
        """Write a result to a file that appears when it is complete.

        Raises NotReadyError while there is no result, MediaError for an unwritable place.
        """
        with whole_file(Path(out)) as path, path.open("xb") as file:
            for chunk in self.fetch_chunks(job_id):
                file.write(chunk)

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def _call(self) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            raise error_of_call(error, self.target) from None

    def _stream(self, method: Any, request: Any) -> Iterator[Any]:
        """The messages of a server stream; leaving it early ends it on the server too."""
        call = method(request)
        try:
            with self._call():
                yield from call
        finally:
            call.cancel()
