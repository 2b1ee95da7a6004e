"""The RPC handlers: decode, hand over, encode. What they decide lies elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import grpc

from wan_trt.engine.errors import InputError, WanTrtError
from wan_trt.server import artifacts
from wan_trt.server.artifacts import Chunk
from wan_trt.server.bundles.admin import BundleAdmin
from wan_trt.server.calls import Calls
from wan_trt.server.job_record import JobRecord
from wan_trt.server.jobs import Jobs
from wan_trt.server.listing import page_from_wire
from wan_trt.server.messages import status_to_wire
from wan_trt.server.previews import PreviewOptions, options_from_wire
from wan_trt.server.principal import Principal
from wan_trt.server.proto import wan_trt_v1_pb2 as wire
from wan_trt.server.proto import wan_trt_v1_pb2_grpc as wire_grpc
from wan_trt.server.server_files import ServerFiles
from wan_trt.server.submission import OutputFormat
from wan_trt.server.submission_messages import submission_from_wire
from wan_trt.server.uploads import Announced, Uploads
from wan_trt.server.watching import watch

_MAX_DEADLINE_S = 1e8  # a call without a deadline has one in some thousand years


class VideoService(wire_grpc.VideoServiceServicer):
    """wan_trt.v1.VideoService over one engine a bundle."""

    def __init__(
        self,
        jobs: Jobs,
        uploads: Uploads,
        files: ServerFiles,
        calls: Calls,
        bundles: BundleAdmin,
    ) -> None:
        self._jobs = jobs
        self._uploads = uploads
        self._files = files
        self._calls = calls
        self._bundles = bundles

    def Upload(  # noqa: N802
        self, request_iterator: Iterator[wire.UploadRequest], context: grpc.ServicerContext
    ) -> wire.UploadResponse:
        with self._calls.answer(context, "Upload", stream=True) as caller:
            first = next(request_iterator, wire.UploadRequest())
            if first.WhichOneof("part") != "header":
                raise InputError("no header", expected="a header, then chunks", field="header")
            header = first.header
            arriving = max(0, header.nbytes - max(0, header.offset))
            upload_id = self._uploads.receive(
                Announced(header.name, header.nbytes, header.sha256, header.offset),
                _chunks(request_iterator),
                caller.name,
                self._jobs.room_for_upload(caller, arriving),
            )
            return wire.UploadResponse(upload_id=upload_id, nbytes=header.nbytes)

    def UploadStatus(  # noqa: N802
        self, request: wire.UploadStatusRequest, context: grpc.ServicerContext
    ) -> wire.UploadStatusResponse:
        with self._calls.answer(context, "UploadStatus") as caller:
            upload_id, nbytes = self._uploads.received(request.name, request.sha256, caller.name)
            return wire.UploadStatusResponse(upload_id=upload_id, received_nbytes=nbytes)

    def Submit(  # noqa: N802
        self, request: wire.SubmitRequest, context: grpc.ServicerContext
    ) -> wire.Job:
        with self._calls.answer(context, "Submit", lasts=True) as caller:
            return status_to_wire(self._submit(request, caller).status)

    def Get(  # noqa: N802
        self, request: wire.GetRequest, context: grpc.ServicerContext
    ) -> wire.Job:
        with self._calls.answer(context, "Get") as caller:
            return status_to_wire(self._jobs.get(request.job_id, caller).status)

    def List(  # noqa: N802
        self, request: wire.ListRequest, context: grpc.ServicerContext
    ) -> wire.ListResponse:
        with self._calls.answer(context, "List") as caller:
            records, token = self._jobs.page(page_from_wire(request, caller))
            return wire.ListResponse(
                jobs=[status_to_wire(record.status) for record in records], next_page_token=token
            )

    def Watch(  # noqa: N802
        self, request: wire.WatchRequest, context: grpc.ServicerContext
    ) -> Iterator[wire.Event]:
        with self._calls.answer(context, "Watch", stream=True) as caller:
            record = self._jobs.get(request.job_id, caller)
            context.add_callback(record.wake)  # a caller that leaves frees the thread at once
            place = (request.after_sequence, _preview(request), context.is_active)
            yield from watch(record, self._jobs.of_bundles, *place)

    def Cancel(  # noqa: N802
        self, request: wire.CancelRequest, context: grpc.ServicerContext
    ) -> wire.Job:
        with self._calls.answer(context, "Cancel") as caller:
            return status_to_wire(self._jobs.cancel(request.job_id, caller).status)

    def Fetch(  # noqa: N802
        self, request: wire.FetchRequest, context: grpc.ServicerContext
    ) -> Iterator[wire.FetchResponse]:
        with self._calls.answer(context, "Fetch", stream=True) as caller:
            record = self._jobs.get(request.job_id, caller)
            context.add_callback(record.wake)
            yield from map(_content, self._artifact(record, request, caller, context.is_active))

    def Generate(  # noqa: N802
        self, request: wire.GenerateRequest, context: grpc.ServicerContext
    ) -> Iterator[wire.GenerateResponse]:
        with self._calls.answer(context, "Generate", stream=True) as caller:
            preview = _preview(request)
            record = self._submit(request.job, caller, _time_left_s(context))
            context.add_callback(record.wake)
            try:
                yield wire.GenerateResponse(job=status_to_wire(record.status))
                for event in watch(record, self._jobs.of_bundles, 0, preview, context.is_active):
                    yield wire.GenerateResponse(event=event)
                record.require_no_failure()
                wanted = wire.FetchRequest()
                for chunk in self._artifact(record, wanted, caller, context.is_active):
                    yield wire.GenerateResponse(content=_content(chunk))
            finally:  # the call is over, however: so is the job
                with suppress(WanTrtError):  # it is already, or left to the next process
                    self._jobs.cancel(record.job_id, caller)

    def Bundles(  # noqa: N802
        self,
        request: wire.BundlesRequest,  # noqa: ARG002
        context: grpc.ServicerContext,
    ) -> wire.BundlesResponse:
        with self._calls.answer(context, "Bundles"):
            return wire.BundlesResponse(bundles=self._bundles.told())

    def AddBundle(  # noqa: N802
        self, request: wire.AddBundleRequest, context: grpc.ServicerContext
    ) -> wire.Bundle:
        with self._calls.answer(context, "AddBundle") as caller:
            return self._bundles.add(request.path, request.name, caller)

    def DrainBundle(  # noqa: N802
        self, request: wire.DrainBundleRequest, context: grpc.ServicerContext
    ) -> wire.Bundle:
        with self._calls.answer(context, "DrainBundle") as caller:
            return self._bundles.drain(request.name, caller)

    def RemoveBundle(  # noqa: N802
        self, request: wire.RemoveBundleRequest, context: grpc.ServicerContext
    ) -> wire.Bundle:
        with self._calls.answer(context, "RemoveBundle") as caller:
            return self._bundles.remove(request.name, request.cancel_jobs, caller)

    def _submit(
        self, request: wire.SubmitRequest, caller: Principal, within_s: float | None = None
    ) -> JobRecord:
        request = self._files.taken(request, caller)
        content = request.SerializeToString(deterministic=True)
        return self._jobs.submit(submission_from_wire(request), content, caller, within_s)

    def _artifact(
        self,
        record: JobRecord,
        request: wire.FetchRequest,
        caller: Principal,
        wanted: Callable[[], bool],
    ) -> Iterator[Chunk]:
        """The chunks that are asked for. Who has the last of a result has fetched it."""
        place = (request.offset, request.follow, wanted)
        match request.artifact:
            case wire.ARTIFACT_UNSPECIFIED | wire.ARTIFACT_RESULT:
                yield from artifacts.result(record, *place)
                whole = True
            case wire.ARTIFACT_FRAMES:
                whole = False
                for chunk in artifacts.frames(record, *place):
                    yield chunk
                    whole = chunk.last and record.submission.output_format is OutputFormat.RAW
            case wire.ARTIFACT_IMAGE:
                yield from artifacts.image(record, request.frame, *place)
                whole = False
            case other:
                raise InputError(
                    f"value {other}",
                    expected="an artifact that this server knows",
                    action="update the server, or fetch the result",
                    field="artifact",
                )
        if whole and wanted():
            self._jobs.mark_fetched(record, caller)


def _content(chunk: Chunk) -> wire.FetchResponse:
    return wire.FetchResponse(offset=chunk.offset, chunk=chunk.content, nbytes=chunk.nbytes)


def _preview(request: wire.WatchRequest | wire.GenerateRequest) -> PreviewOptions | None:
    return options_from_wire(request.preview) if request.HasField("preview") else None


def _time_left_s(context: grpc.ServicerContext) -> float | None:
    left = context.time_remaining()
    return None if left is None or left > _MAX_DEADLINE_S else left


def _chunks(requests: Iterator[wire.UploadRequest]) -> Iterator[bytes]:
    for request in requests:
        if request.WhichOneof("part") != "chunk":
            raise InputError("a message without a chunk", expected="chunks only", field="chunk")
        yield request.chunk
