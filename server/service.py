"""The RPC handlers: decode, hand over, encode. What they decide lies elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

import grpc

from wan_trt.engine.errors import InputError
from wan_trt.server.calls import Calls
from wan_trt.server.job_record import JobRecord
from wan_trt.server.jobs import Jobs
from wan_trt.server.messages import event_to_wire, status_to_wire, submission_from_wire
from wan_trt.server.proto import wan_trt_v1_pb2 as wire
from wan_trt.server.proto import wan_trt_v1_pb2_grpc as wire_grpc
from wan_trt.server.uploads import MAX_CHUNK_NBYTES, Uploads


class VideoService(wire_grpc.VideoServiceServicer):
    """wan_trt.v1.VideoService over one engine."""

    def __init__(self, jobs: Jobs, uploads: Uploads, calls: Calls) -> None:
        self._jobs = jobs
        self._uploads = uploads
        self._calls = calls

    def Upload(  # noqa: N802
        self, request_iterator: Iterator[wire.UploadRequest], context: grpc.ServicerContext
    ) -> wire.UploadResponse:
        with self._calls.answer(context, "Upload", stream=True) as caller:
            first = next(request_iterator, wire.UploadRequest())
            if first.WhichOneof("part") != "header":
                raise InputError("no header", expected="a header, then chunks", field="header")
            header = first.header
            upload_id = self._uploads.receive(
                header.name,
                header.nbytes,
                header.sha256,
                _chunks(request_iterator),
                caller.name,
            )
            return wire.UploadResponse(upload_id=upload_id, nbytes=header.nbytes)

    def Submit(  # noqa: N802
        self, request: wire.SubmitRequest, context: grpc.ServicerContext
    ) -> wire.Job:
        with self._calls.answer(context, "Submit") as caller:
            content = request.SerializeToString(deterministic=True)
            return _job(self._jobs.submit(submission_from_wire(request), content, caller))

    def Get(  # noqa: N802
        self, request: wire.GetRequest, context: grpc.ServicerContext
    ) -> wire.Job:
        with self._calls.answer(context, "Get") as caller:
            return _job(self._jobs.get(request.job_id, caller))

    def Watch(  # noqa: N802
        self, request: wire.WatchRequest, context: grpc.ServicerContext
    ) -> Iterator[wire.Event]:
        with self._calls.answer(context, "Watch", stream=True) as caller:
            record = self._jobs.get(request.job_id, caller)
            context.add_callback(record.wake)  # a caller that leaves frees the thread at once
            for event in record.follow(request.after_sequence, context.is_active):
                yield event_to_wire(event)

    def Cancel(  # noqa: N802
        self, request: wire.CancelRequest, context: grpc.ServicerContext
    ) -> wire.Job:
        with self._calls.answer(context, "Cancel") as caller:
            return _job(self._jobs.cancel(request.job_id, caller))

    def Fetch(  # noqa: N802
        self, request: wire.FetchRequest, context: grpc.ServicerContext
    ) -> Iterator[wire.FetchResponse]:
        with self._calls.answer(context, "Fetch", stream=True) as caller:
            record = self._jobs.get(request.job_id, caller)
            with record.result().open("rb") as file:
                offset, nbytes = request.offset, record.status.result_nbytes
                if not 0 <= offset <= nbytes:
                    raise InputError(f"{offset}", expected=f"0 to {nbytes}", field="offset")
                file.seek(offset)
                while chunk := file.read(MAX_CHUNK_NBYTES):
                    yield wire.FetchResponse(offset=offset, chunk=chunk, nbytes=nbytes)
                    offset += len(chunk)
                self._jobs.mark_fetched(record, caller)


def _job(record: JobRecord) -> wire.Job:
    return status_to_wire(record.status)


def _chunks(requests: Iterator[wire.UploadRequest]) -> Iterator[bytes]:
    for request in requests:
        if request.WhichOneof("part") != "chunk":
            raise InputError("a message without a chunk", expected="chunks only", field="chunk")
        yield request.chunk
