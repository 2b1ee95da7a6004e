"""The one table between our errors and gRPC statuses, read in both directions.

A failed call carries its error as trailing metadata, a serialized `Error` message, so that a
client raises the very error that the server met, and once more as google.rpc.Status (details.py)
for the clients of others. Where both are missing - no server there, a proxy
in between - the code alone decides.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import grpc

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
from wan_trt.server.details import DETAILS_KEY, retry_after_s, status_of, told_retry_s
from wan_trt.server.errors import (
    AuthenticationError,
    ConflictError,
    NotReadyError,
    PermissionDeniedError,
    QueueFullError,
    QuotaError,
    UnavailableError,
)
from wan_trt.server.proto import wan_trt_v1_pb2 as wire

ERROR_KEY = "wan-trt-error-bin"

CODES: dict[type[WanTrtError], grpc.StatusCode] = {
    InputError: grpc.StatusCode.INVALID_ARGUMENT,
    MediaError: grpc.StatusCode.INVALID_ARGUMENT,
    MediaLimitError: grpc.StatusCode.INVALID_ARGUMENT,
    LoraError: grpc.StatusCode.INVALID_ARGUMENT,
    CheckpointError: grpc.StatusCode.INVALID_ARGUMENT,
    BundleError: grpc.StatusCode.FAILED_PRECONDITION,
    GateError: grpc.StatusCode.FAILED_PRECONDITION,
    NotReadyError: grpc.StatusCode.FAILED_PRECONDITION,
    ConflictError: grpc.StatusCode.ALREADY_EXISTS,
    NotFoundError: grpc.StatusCode.NOT_FOUND,
    AuthenticationError: grpc.StatusCode.UNAUTHENTICATED,
    PermissionDeniedError: grpc.StatusCode.PERMISSION_DENIED,
    ResourceError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    StorageFullError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    AdmissionError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    QuotaError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    QueueFullError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    DeadlineError: grpc.StatusCode.DEADLINE_EXCEEDED,
    UnavailableError: grpc.StatusCode.UNAVAILABLE,
    CancelledError: grpc.StatusCode.CANCELLED,
    ExecutionError: grpc.StatusCode.INTERNAL,
}

_KINDS = {kind.__name__: kind for kind in CODES}

# What a bare code means to a client, where no server of ours has said more.
_BARE: dict[grpc.StatusCode, type[WanTrtError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InputError,
    grpc.StatusCode.FAILED_PRECONDITION: NotReadyError,
    grpc.StatusCode.ALREADY_EXISTS: ConflictError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.UNAUTHENTICATED: AuthenticationError,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDeniedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: UnavailableError,
    grpc.StatusCode.CANCELLED: CancelledError,
}

_logger = logging.getLogger(__name__)


def code_of(error: WanTrtError) -> grpc.StatusCode:
    """The code of the nearest class in the table."""
    return next((CODES[kind] for kind in type(error).__mro__ if kind in CODES), _UNKNOWN)


_UNKNOWN = grpc.StatusCode.INTERNAL


def kind_of(error: WanTrtError) -> type[WanTrtError]:
    """The nearest class that clients know."""
    return next(kind for kind in type(error).__mro__ if kind in CODES or kind is WanTrtError)


def error_to_wire(error: Exception) -> wire.Error:
    """Any exception as a message; what is not of our tree becomes an ExecutionError."""
    if not isinstance(error, WanTrtError):
        error = ExecutionError(
            f"an internal error ({type(error).__name__}: {error})", action="report it as a bug"
        )
    return wire.Error(
        kind=kind_of(error).__name__,
        given=_printable(error.given),
        expected=_printable(error.expected),
        action=_printable(error.action),
        field=error.field or "",
        exit_code=error.exit_code,
        retry_after_s=retry_after_s(error),
    )


def error_from_wire(message: wire.Error) -> WanTrtError:
    """The typed error again; a kind that this version does not know, by its exit code."""
    by_exit_code = {2: InputError, 3: ResourceError, 4: CancelledError}
    kind = _KINDS.get(message.kind) or by_exit_code.get(message.exit_code, ExecutionError)
    error = kind(
        message.given,
        expected=message.expected,
        action=message.action,
        field=message.field or None,
    )
    if message.HasField("retry_after_s"):
        match error:
            case AdmissionError():
                error.possible_in_s = message.retry_after_s
            case StorageFullError() | QuotaError() | QueueFullError() | UnavailableError():
                error.retry_after_s = message.retry_after_s
    return error


def error_of_call(error: grpc.RpcError, target: str) -> WanTrtError:
    """What a failed call to the server at `target` means; gRPC's own error is its context."""
    meant = _meaning(error, target)
    meant.__context__, meant.__suppress_context__ = error, True
    return meant


def _meaning(error: grpc.RpcError, target: str) -> WanTrtError:
    call = error if isinstance(error, grpc.Call | grpc.aio.AioRpcError) else None
    metadata: Any = dict(call.trailing_metadata() or ()) if call else {}
    if ERROR_KEY in metadata:
        return error_from_wire(wire.Error.FromString(metadata[ERROR_KEY]))
    code = call.code() if call else _UNKNOWN
    details = (call.details() if call else None) or str(error)
    if code is grpc.StatusCode.UNAVAILABLE:
        unreachable = _unreachable(target, details)
        if DETAILS_KEY in metadata:
            unreachable.retry_after_s = told_retry_s(metadata[DETAILS_KEY])
        return unreachable
    bare = _BARE.get(code, ExecutionError)(f"{target}: {code.name}: {details}")
    if isinstance(bare, UnavailableError):  # the call had all the time that it was given
        bare.retry_after_s = math.inf
    return bare


def _unreachable(target: str, details: str) -> UnavailableError:
    """What gRPC says of a connection that was not made, in words of this program's options."""
    if "handshake failed" in details:
        error = UnavailableError(
            f"the TLS handshake with {target} failed",
            expected="a server with TLS, whose certificate has this name and is vouched for",
            action="check --tls-ca and the address",
            field="server",
        )
        error.retry_after_s = math.inf
        return error
    if "failed to connect" in details and "Socket closed" in details:
        return UnavailableError(
            f"{target} hangs up",
            expected="a server that takes such connections",
            action="it may want TLS (--tls-ca), or a client certificate that it knows (--tls-cert)",
            field="server",
        )
    return UnavailableError(
        f"no server answers at {target}",
        action="start one with `wan-trt serve`, or check the address",
        field="server",
    )


@contextmanager
def answered(context: grpc.ServicerContext) -> Iterator[None]:
    """Turn what is raised inside into the call's status. Whose client is gone needs none: then gRPC
    raises an RpcError of its own, and knows it again."""
    try:
        yield
    except grpc.RpcError:
        raise
    except WanTrtError as error:
        _abort(context, error)
    except Exception as error:
        _logger.exception("a call failed by a bug")
        _abort(context, error)


def _abort(context: grpc.ServicerContext, error: Exception) -> NoReturn:
    message = error_to_wire(error)
    typed = error if isinstance(error, WanTrtError) else error_from_wire(message)
    code, text = code_of(typed), _printable(str(typed))
    metadata: Any = (
        (ERROR_KEY, message.SerializeToString()),
        (DETAILS_KEY, status_of(typed, code, text).SerializeToString()),
    )
    context.set_trailing_metadata(metadata)
    context.abort(code, text)


def _printable(text: str) -> str:
    """The text with lone surrogates (of undecodable file names) escaped: the wire is UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
