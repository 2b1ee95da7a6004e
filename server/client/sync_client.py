"""A typed client of one server. Operations say what to do; this is who does it, and waits."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias, TypeVar

import grpc

from wan_trt.engine.request import Event
from wan_trt.server.address import DEFAULT_ADDRESS, Address
from wan_trt.server.client.bundles import BundleInfo
from wan_trt.server.client.connection import ClientTls, bearer, methods_of, open_channel
from wan_trt.server.client.effects import (
    Ask,
    Do,
    Done,
    Effect,
    Emit,
    Open,
    Operation,
    Pause,
    Receive,
    Send,
    advance,
)
from wan_trt.server.client.news import JobPage, JobQuery, PreviewChoice
from wan_trt.server.client.operations import OnEvent, Operations
from wan_trt.server.client.retries import OnOutage, Retries
from wan_trt.server.client.sendable import OnProgress
from wan_trt.server.proto import wan_trt_v1_pb2 as wire
from wan_trt.server.status import error_of_call
from wan_trt.server.submission import JobStatus, Submission

_Result = TypeVar("_Result")
_Steps: TypeAlias = Generator[Emit | Done[_Result], None, None]


class Client:
    """One connection, made when it is first needed; safe to use from several threads.

    Every method raises the error that the server met, as the class it has there. Where no server
    answers it is called again as `retries` say, and transfers and watches go on where they were
    cut off; in the end UnavailableError is raised.
    """

    def __init__(
        self,
        target: str = DEFAULT_ADDRESS,
        timeout_s: float = 300.0,
        *,
        token: str | None = None,
        tls: ClientTls | None = None,
        retries: Retries | None = None,
        on_outage: OnOutage | None = None,
    ) -> None:
        """`timeout_s` limits each short call (the longest is `submit`, which checks the
        files); transfers and watching may last. `token` shows who calls; `tls` None is a
        connection without encryption. `on_outage` is told when the server does not answer, and how
        many seconds that will be borne. Raises InputError for what is not HOST:PORT, for files of
        `tls` that cannot be used, and for a token that would go unencrypted over a network."""
        address = Address.parse(target, "server")
        self.target = str(address)
        self._metadata = bearer(address, tls, token)
        self._channel = open_channel(address, tls)
        self._methods = methods_of(self._channel)
        self._do = Operations(self.target, timeout_s, retries or Retries(), on_outage)

    def require_serving(self, timeout_s: float = 5.0, *, bundle: str = "") -> None:
        """Return if the server takes jobs; it is asked once, by gRPC's health protocol. Raises
        UnavailableError where none answers in time, and while one is stopping. With `bundle` it is
        asked of that one; NotFoundError: it is not there."""
        self._result(self._do.require_serving(timeout_s, bundle))

    def upload(
        self,
        path: Path | str,
        *,
        field: str | None = None,
        name: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> str:
        """Send a file, or the frames of an image-sequence pattern, and return its upload id. What
        the server has of it already is not sent.

        `field` names the option in errors; `name` is what the server calls the file in its own.
        """
        return self._result(self._do.upload(Path(path), field, name, on_progress))

    def submit(self, submission: Submission) -> str:
        """Ask for a video and return its job's id. Files are checked before this returns. Without
        an idempotency key it gets one of its own, so trying again makes no second job."""
        return self._result(self._do.submit(submission))

    def get(self, job_id: str) -> JobStatus:
        return self._result(self._do.get(job_id))

    def list_jobs(self, query: JobQuery | None = None) -> Iterator[JobStatus]:
        """All jobs that fit, the newest first; pages are asked for as they are needed."""
        return self._emitted(self._do.list_jobs(query or JobQuery()))

    def list_page(self, query: JobQuery | None = None, size: int = 50, token: str = "") -> JobPage:
        """One page of that list. Raises InputError for a token of another query."""
        return self._result(self._do.list_page(query or JobQuery(), size, token))

    def bundles(self) -> tuple[BundleInfo, ...]:
        """What the server makes videos with; the first one that serves is what it chooses
        by itself."""
        return self._result(self._do.bundles())

    def add_bundle(self, path: str, name: str = "") -> BundleInfo:
        """Have a folder of the server's machine loaded, or a bundle that drains serve again, and
        return at once: `bundles` tells how it goes. For admins, as the next two."""
        return self._result(self._do.add_bundle(path, name))

    def drain_bundle(self, name: str) -> BundleInfo:
        """No more jobs for a bundle; those that it has go on."""
        return self._result(self._do.drain_bundle(name))

    def remove_bundle(self, name: str, *, cancel_jobs: bool = False) -> BundleInfo:
        """Close a bundle that has no jobs, or first cancel them; tells how it was."""
        return self._result(self._do.remove_bundle(name, cancel_jobs))

    def watch(
        self, job_id: str, after_sequence: int = 0, *, previews: PreviewChoice | None = None
    ) -> Iterator[Event]:
        """Events above a sequence number, as they come, up to the job's final one. With `previews`
        PreviewEvents come between them."""
        return self._emitted(self._do.watch(job_id, after_sequence, previews))

    def wait(
        self,
        job_id: str,
        on_event: OnEvent | None = None,
        after_sequence: int = 0,
        *,
        previews: PreviewChoice | None = None,
    ) -> Event:
        """Watch a job to its end and return its final event. Raises the error that ended it."""
        return self._result(self._do.wait(job_id, on_event, after_sequence, previews))

    def cancel(self, job_id: str) -> JobStatus:
        """Stop a job; its final event comes within one step."""
        return self._result(self._do.cancel(job_id))

    def fetch_chunks(
        self,
        job_id: str,
        offset: int = 0,
        *,
        artifact: wire.Artifact = wire.ARTIFACT_RESULT,
        frame: int = 0,
        follow: bool = False,
    ) -> Iterator[bytes]:
        """The content of a result, or of another artifact, from an offset; see the proto."""
        request = wire.FetchRequest(
            job_id=job_id, offset=offset, artifact=artifact, frame=frame, follow=follow
        )
        for message in self._emitted(self._do.fetch_chunks(request)):
            yield message.chunk

    def fetch(
        self,
        job_id: str,
        out: Path | str,
        *,
        on_progress: OnProgress | None = None,
        follow: bool = False,
    ) -> None:
        """Write a result to a file that appears when it is complete. What came until it was cut
        off is kept in OUT.<job id>.part, and a later call goes on behind it.

        `follow` waits for the result. Raises NotReadyError while there is none, MediaError for an
        unwritable place.
        """
        self._result(self._do.fetch(job_id, Path(out), on_progress, follow))

    def generate(
        self,
        submission: Submission,
        out: Path | str,
        *,
        timeout_s: float | None = None,
        on_event: OnEvent | None = None,
        previews: PreviewChoice | None = None,
    ) -> None:
        """Ask for a video and write it to a file, in one call for short jobs. The job ends with the
        call, also when that is cut off or left; it has `timeout_s` for all of it. Raises the error
        that ended the job, and UnavailableError where the connection did."""
        self._result(self._do.generate(submission, Path(out), timeout_s, on_event, previews))

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

    def _result(self, operation: Operation[_Result]) -> _Result:
        with closing(self._steps(operation)) as steps:
            for step in steps:
                if isinstance(step, Done):
                    return step.value
        raise AssertionError("an operation without an end")

    def _emitted(self, operation: Operation[None]) -> Generator[Any, None, None]:
        """What it emits; leaving it early ends its call on the server too."""
        with closing(self._steps(operation)) as steps:
            for step in steps:
                if isinstance(step, Emit):
                    yield step.value

    def _steps(self, operation: Operation[_Result]) -> _Steps[_Result]:
        """Do all that it wants done but these."""
        stream: Any = None
        try:
            step = advance(operation)
            while True:
                outcome: Any = None
                match step:
                    case Emit():
                        yield step
                    case Done():
                        yield step
                        return
                    case Open():
                        if stream is not None:
                            stream.cancel()
                        stream = self._methods[step.method](
                            step.request, timeout=step.timeout_s, metadata=self._metadata
                        )
                    case _:
                        outcome = self._outcome(step, stream)
                step = advance(operation, outcome)
        finally:
            operation.close()
            if stream is not None:
                stream.cancel()

    def _outcome(self, effect: Effect, stream: Any) -> Any:
        try:
            match effect:
                case Ask():
                    return self._methods[effect.method](
                        effect.request, timeout=effect.timeout_s, metadata=self._metadata
                    )
                case Send():
                    return self._methods[effect.method](effect.messages(), metadata=self._metadata)
                case Receive():
                    return next(stream, None)
                case Pause():
                    time.sleep(effect.seconds)
                case Do():
                    return effect.action()
        except grpc.RpcError as error:
            return error_of_call(error, self.target)
        except Exception as error:
            return error
        return None
