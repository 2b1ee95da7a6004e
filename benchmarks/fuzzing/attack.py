"""Sends anything to a server and judges what comes back.

Every call ends with OK, or with a code of the table and the Error that belongs to it. INTERNAL and
UNKNOWN are bugs, whatever was sent. Some answers are gRPC's own, before a handler is asked, and
have no Error: a message that is too long, a stream that is refused (and may be sent again); so have
calls that the client ends.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message_factory import GetMessageClass

from wan_trt.server.proto import wan_trt_v1_pb2 as wire
from wan_trt.server.status import CODES, ERROR_KEY

SERVICE = wire.DESCRIPTOR.services_by_name["VideoService"]
METHODS = {method.name: method for method in SERVICE.methods}
CALL_S = 60.0
"""No short call takes so long, however busy the machine is."""
STREAM_S = 3.0
JOB_S = 60.0
MAX_CHUNK_NBYTES = 1 << 20
_BUGS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}
_CODE_OF = {kind.__name__: code for kind, code in CODES.items()}
_FINAL = {wire.JOB_STATE_DONE, wire.JOB_STATE_FAILED, wire.JOB_STATE_CANCELLED}


class WrongAnswerError(AssertionError):
    """The server answered as it must not."""


@dataclass(frozen=True)
class Answer:
    code: grpc.StatusCode
    messages: tuple[Any, ...]
    error: wire.Error | None


class Attack:
    """Calls of one channel, counted by method and code, and jobs by how they ended."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.calls: Counter[tuple[str, str]] = Counter()
        self.kinds: Counter[str] = Counter()
        self.jobs: Counter[str] = Counter()
        self._make: dict[str, Any] = {
            name: channel.stream_stream(f"/{SERVICE.full_name}/{name}") for name in METHODS
        }

    def forget(self) -> None:
        """Count from here."""
        for counter in (self.calls, self.kinds, self.jobs):
            counter.clear()

    def call(self, method: str, *requests: bytes) -> Answer:
        """Send the bytes as the messages of a call. Raises WrongAnswerError."""
        streams = METHODS[method].server_streaming
        call = self._make[method](iter(requests), timeout=STREAM_S if streams else CALL_S)
        found: list[bytes] = []
        with contextlib.suppress(grpc.RpcError):
            for content in call:
                found.append(content)
        code, details = call.code(), call.details() or ""
        self.calls[method, code.name] += 1
        make: Any = GetMessageClass(METHODS[method].output_type)
        answer = Answer(code, tuple(make.FromString(each) for each in found), _error(call))
        _judge(method, answer, details, streams)
        self.kinds[answer.error.kind if answer.error else f"({code.name})"] += 1
        return answer

    def leave(self, method: str, request: bytes, after: int) -> None:
        """End a call after so many answers; what it made goes on, or not."""
        call = self._make[method](iter([request]), timeout=CALL_S)
        with contextlib.suppress(grpc.RpcError):
            for _ in range(after):
                next(call, None)
        call.cancel()
        self.calls[method, "(left)"] += 1

    def upload(self, name: str, content: bytes) -> str:
        """The file's upload id; it was announced as it is."""
        header = wire.UploadHeader(
            name=name, nbytes=len(content), sha256=hashlib.sha256(content).hexdigest()
        )
        chunks = [
            wire.UploadRequest(chunk=content[start : start + MAX_CHUNK_NBYTES])
            for start in range(0, len(content), MAX_CHUNK_NBYTES)
        ]
        messages = (wire.UploadRequest(header=header), *chunks)
        answer = self.call("Upload", *(message.SerializeToString() for message in messages))
        if answer.code is not grpc.StatusCode.OK:
            raise WrongAnswerError(f"Upload of {name}: {answer}")
        upload_id: str = answer.messages[0].upload_id
        return upload_id

    def submit(self, request: wire.SubmitRequest) -> None:
        """Submit, and where it is taken see it through to its end."""
        answer = self.call("Submit", request.SerializeToString())
        if answer.code is grpc.StatusCode.OK:
            self.see_through(answer.messages[0].job_id)

    def see_through(self, job_id: str) -> None:
        """Watch a job for a while; what is not over then is cancelled, and must end soon. Raises
        WrongAnswerError, also where it ended by a bug."""
        last = self._last_event(job_id)
        if last is None or last.state not in _FINAL:
            self.call("Cancel", wire.CancelRequest(job_id=job_id).SerializeToString())
            for _ in range(int(JOB_S / STREAM_S)):
                last = self._last_event(job_id)
                if last is not None and last.state in _FINAL:
                    break
            else:
                raise WrongAnswerError(f"job {job_id} does not end: {last}")
        self.jobs[wire.JobState.Name(last.state).removeprefix("JOB_STATE_")] += 1
        if last.state == wire.JOB_STATE_FAILED:
            self.jobs[last.error.kind] += 1
            if _CODE_OF.get(last.error.kind, grpc.StatusCode.UNKNOWN) in _BUGS:
                raise WrongAnswerError(f"job {job_id} ended by a bug: {last.error}")

    def _last_event(self, job_id: str) -> wire.Event | None:
        events = self.call("Watch", wire.WatchRequest(job_id=job_id).SerializeToString()).messages
        return events[-1] if events else None


def jobs_of(answers: Sequence[Answer]) -> Iterator[str]:
    """The jobs that were made by these calls."""
    for answer in answers:
        for message in answer.messages:
            if isinstance(message, wire.Job) and answer.code is grpc.StatusCode.OK:
                yield message.job_id
            elif isinstance(message, wire.GenerateResponse) and message.HasField("job"):
                yield message.job.job_id


def _judge(method: str, answer: Answer, details: str, streams: bool) -> None:
    told = f"{method}: {answer.code.name}: {details[:500]!r}"
    if answer.code in _BUGS:
        raise WrongAnswerError(told)
    if answer.code is grpc.StatusCode.OK:
        return
    if answer.error is None:
        ours = answer.code is grpc.StatusCode.DEADLINE_EXCEEDED and streams
        too_long = answer.code is grpc.StatusCode.RESOURCE_EXHAUSTED and "message larger" in details
        refused = answer.code is grpc.StatusCode.UNAVAILABLE and "RST_STREAM" in details
        if not (ours or too_long or refused):
            raise WrongAnswerError(f"{told}, without an Error")
    elif _CODE_OF.get(answer.error.kind) is not answer.code:
        raise WrongAnswerError(f"{told}, with {answer.error.kind}")


def _error(call: Any) -> wire.Error | None:
    for key, value in call.trailing_metadata() or ():
        if key == ERROR_KEY:
            return wire.Error.FromString(value)
    return None
