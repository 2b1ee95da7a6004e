"""An error as google.rpc.Status, which tools and libraries of others understand.

See google/rpc/error_details.proto for what each part means. Ours, `Error`, stays beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc.error_details_pb2 import (
    BadRequest,
    ErrorInfo,
    QuotaFailure,
    ResourceInfo,
    RetryInfo,
)
from google.rpc.status_pb2 import Status

from wan_trt.engine.errors import (
    AdmissionError,
    InputError,
    NotFoundError,
    StorageFullError,
    WanTrtError,
)
from wan_trt.server.errors import QueueFullError, QuotaError, UnavailableError

DETAILS_KEY = "grpc-status-details-bin"
DOMAIN = "wan-trt"
_RESTART_S = 5.0
# What a field that names nothing is about.
_RESOURCES = {"job_id": "job", "bundle": "bundle"}


def retry_after_s(error: WanTrtError) -> float | None:
    """When the same may work here, as far as anybody can tell."""
    match error:
        case AdmissionError():
            return error.possible_in_s
        case StorageFullError() | QuotaError() | QueueFullError():
            return error.retry_after_s
        case UnavailableError():
            return _RESTART_S if error.retry_after_s is None else error.retry_after_s
    return None


def status_of(error: WanTrtError, code: grpc.StatusCode, text: str) -> Status:
    """The error with all details that apply; `code` and `text` are those of the call."""
    status = Status(code=code.value[0], message=text)
    for detail in _details(error):
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def told_retry_s(content: bytes) -> float | None:
    """The RetryInfo in a serialized google.rpc.Status, whoever made it; None without one."""
    try:
        details = Status.FromString(content).details
    except DecodeError:
        return None
    delay = RetryInfo()
    for packed in details:
        if packed.Unpack(delay):
            seconds: float = delay.retry_delay.seconds + delay.retry_delay.nanos / 1e9
            return seconds
    return None


def _details(error: WanTrtError) -> Iterator[Message]:
    yield ErrorInfo(
        reason=reason_of(type(error).__name__),
        domain=DOMAIN,
        metadata={"field": error.field} if error.field else {},
    )
    if isinstance(error, InputError) and error.field:
        violation = BadRequest.FieldViolation(
            field=error.field, description=WanTrtError.message(error, None)
        )
        yield BadRequest(field_violations=[violation])
    if isinstance(error, NotFoundError):
        yield ResourceInfo(
            resource_type=_RESOURCES.get(error.field or "", "upload"),
            description=error.given,
        )
    if isinstance(error, QuotaError):
        violation_of_quota = QuotaFailure.Violation(
            subject=error.subject, description=f"{error.what}: {error.given}"
        )
        yield QuotaFailure(violations=[violation_of_quota])
    seconds = retry_after_s(error)
    if seconds is not None:
        delay = Duration()
        delay.FromMilliseconds(round(1000 * max(0.0, seconds)))
        yield RetryInfo(retry_delay=delay)


def reason_of(kind: str) -> str:
    """INPUT_ERROR of InputError."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind).upper()
