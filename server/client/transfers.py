"""Files to the server and results from it, which go on where they were cut off."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from wan_trt.engine.errors import ExecutionError, InputError, NotFoundError
from wan_trt.server.client.effects import Ask, Do, Emit, Open, Operation, Receive, Send, heard
from wan_trt.server.client.partial_download import ChangedError, PartialDownload
from wan_trt.server.client.retries import Outage
from wan_trt.server.client.sendable import (
    OnProgress,
    sendable_file,
    upload_header,
    upload_messages,
)
from wan_trt.server.errors import UnavailableError
from wan_trt.server.proto import wan_trt_v1_pb2 as wire


def upload(
    path: Path,
    field: str | None,
    name: str | None,
    on_progress: OnProgress | None,
    timeout_s: float,
    outage: Outage,
) -> Operation[str]:
    """Send what is not there yet; the upload id."""
    with ExitStack() as resources:
        file = yield Do(lambda: resources.enter_context(sendable_file(path, field)))
        header = yield Do(lambda: upload_header(file, (name or path.stem) + file.suffix, field))
        asked = wire.UploadStatusRequest(name=header.name, sha256=header.sha256)
        furthest, trusted = 0, True
        while True:
            try:
                status = yield Ask("UploadStatus", asked, timeout_s)
                if status.upload_id:
                    return str(status.upload_id)
                if status.received_nbytes > furthest:
                    furthest = status.received_nbytes
                    outage.over()
                header.offset = status.received_nbytes if trusted else 0
                reply = yield Send("Upload", lambda: upload_messages(header, file, on_progress))
                return str(reply.upload_id)
            except UnavailableError as error:
                yield outage.pause(error)
            except InputError as error:
                # What was there when we asked is gone, or is not the beginning of this file.
                if not header.offset or error.field not in ("offset", "sha256"):
                    raise
                trusted = False


def chunks(request: wire.FetchRequest, outage: Outage) -> Operation[None]:
    """Emit the FetchResponses from an offset on, without a gap."""
    following = wire.FetchRequest()
    following.CopyFrom(request)
    open_ended = request.artifact == wire.ARTIFACT_FRAMES and not request.follow
    while True:
        try:
            yield Open("Fetch", following)
            nbytes = None
            while (message := (yield Receive())) is not None:
                outage.over()
                if message.offset != following.offset:
                    raise ExecutionError(
                        f"job {request.job_id}: content from byte {message.offset}",
                        expected=f"{following.offset}",
                    )
                following.offset += len(message.chunk)
                nbytes = message.nbytes
                yield Emit(message)
            if open_ended or nbytes is None or following.offset == nbytes:
                return
            raise UnavailableError(
                f"job {request.job_id}: the result ended after {following.offset} bytes",
                expected=f"{nbytes}",
                action="fetch it again",
            )
        except UnavailableError as error:
            yield outage.pause(error)


def fetch(
    request: wire.FetchRequest,
    out: Path,
    on_progress: OnProgress | None,
    make_outage: Callable[[], Outage],
) -> Operation[None]:
    """Write a result to a file that appears when it is complete."""
    partial: PartialDownload = yield Do(lambda: PartialDownload(out, request.job_id))

    nbytes = 0

    def take(message: wire.FetchResponse) -> None:
        nonlocal nbytes
        nbytes = message.nbytes
        partial.take(message.offset, message.chunk)
        if on_progress is not None:
            on_progress(message.offset + len(message.chunk), message.nbytes)

    try:
        while True:
            request.offset = partial.offset
            try:
                yield from heard(chunks(request, make_outage()), take)
                if partial.there_nbytes == nbytes:
                    break
            except ChangedError:
                pass
            except (InputError, NotFoundError) as error:
                if error.field != "offset" or not request.offset:
                    partial.discard()  # there is nothing to go on with
                    raise
            partial.begin_anew()  # what was there is not of this result
        yield Do(partial.commit)
    finally:
        partial.close()
