"""What a client can do, once for the synchronous and the asynchronous one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from grpc_health.v1 import health_pb2

from wan_trt.engine.request import Event
from wan_trt.server.client import one_call, transfers
from wan_trt.server.client.bundles import BundleInfo, bundle_from_wire
from wan_trt.server.client.effects import Ask, Emit, Open, Operation, Receive, heard
from wan_trt.server.client.news import JobPage, JobQuery, PreviewChoice, news_from_wire
from wan_trt.server.client.retries import OnOutage, Outage, Retries
from wan_trt.server.client.sendable import OnProgress
from wan_trt.server.errors import UnavailableError
from wan_trt.server.messages import status_from_wire
from wan_trt.server.proto import wan_trt_v1_pb2 as wire
from wan_trt.server.submission import JobStatus, Submission
from wan_trt.server.submission_messages import submission_to_wire

OnEvent = Callable[[Event], None]


class Operations:
    """Each method makes an operation; see `Client` for what it is about."""

    def __init__(
        self, target: str, timeout_s: float, retries: Retries, on_outage: OnOutage | None
    ) -> None:
        self.target = target
        self._timeout_s = timeout_s
        self._retries = retries
        self._on_outage = on_outage

    def require_serving(self, timeout_s: float, bundle: str) -> Operation[None]:
        service = wire.DESCRIPTOR.services_by_name["VideoService"].full_name
        asked = health_pb2.HealthCheckRequest(service=f"{service}/{bundle}" if bundle else "")
        reply = yield Ask("Check", asked, timeout_s)
        if reply.status != health_pb2.HealthCheckResponse.SERVING:
            raise UnavailableError(
                f"{bundle} takes no jobs at {self.target}"
                if bundle
                else f"the server at {self.target} is stopping",
                action="use another, or try again later",
                field="server",
            )

    def upload(
        self, path: Path, field: str | None, name: str | None, on_progress: OnProgress | None
    ) -> Operation[str]:
        return transfers.upload(path, field, name, on_progress, self._timeout_s, self._outage())

    def submit(self, submission: Submission) -> Operation[str]:
        if not submission.idempotency_key:  # a repeated call must not make a second job
            submission = replace(submission, idempotency_key=uuid4().hex)
        job = yield from self._answer("Submit", submission_to_wire(submission))
        return str(job.job_id)

    def get(self, job_id: str) -> Operation[JobStatus]:
        return status_from_wire((yield from self._answer("Get", wire.GetRequest(job_id=job_id))))

    def cancel(self, job_id: str) -> Operation[JobStatus]:
        job = yield from self._answer("Cancel", wire.CancelRequest(job_id=job_id))
        return status_from_wire(job)

    def bundles(self) -> Operation[tuple[BundleInfo, ...]]:
        reply = yield from self._answer("Bundles", wire.BundlesRequest())
        return tuple(map(bundle_from_wire, reply.bundles))

    def add_bundle(self, path: str, name: str) -> Operation[BundleInfo]:
        request = wire.AddBundleRequest(path=path, name=name)
        return bundle_from_wire((yield Ask("AddBundle", request, self._timeout_s)))

    def drain_bundle(self, name: str) -> Operation[BundleInfo]:
        request = wire.DrainBundleRequest(name=name)
        return bundle_from_wire((yield from self._answer("DrainBundle", request)))

    def remove_bundle(self, name: str, cancel_jobs: bool) -> Operation[BundleInfo]:
        request = wire.RemoveBundleRequest(name=name, cancel_jobs=cancel_jobs)
        return bundle_from_wire((yield Ask("RemoveBundle", request, self._timeout_s)))

    def list_page(self, query: JobQuery, size: int, token: str) -> Operation[JobPage]:
        reply = yield from self._answer("List", query.to_wire(size, token))
        return JobPage(tuple(map(status_from_wire, reply.jobs)), reply.next_page_token)

    def list_jobs(self, query: JobQuery) -> Operation[None]:
        """Emits JobStatus."""
        token = ""
        while True:
            page = yield from self.list_page(query, 0, token)
            for job in page.jobs:
                yield Emit(job)
            token = page.next_token
            if not token:
                return

    def watch(
        self, job_id: str, after_sequence: int, previews: PreviewChoice | None
    ) -> Operation[None]:
        """Emits Event."""
        outage = self._outage()
        request = wire.WatchRequest(
            job_id=job_id,
            after_sequence=after_sequence,
            preview=None if previews is None else previews.to_wire(),
        )
        while True:
            try:
                yield Open("Watch", request)
                while (message := (yield Receive())) is not None:
                    outage.over()
                    event = news_from_wire(message)
                    request.after_sequence = event.sequence
                    yield Emit(event)
                    if event.state.final:
                        return
                return
            except UnavailableError as error:
                yield outage.pause(error)

    def wait(
        self,
        job_id: str,
        on_event: OnEvent | None,
        after_sequence: int,
        previews: PreviewChoice | None,
    ) -> Operation[Event]:
        last: Event | None = None

        def hear(event: Event) -> None:
            nonlocal last
            last = event
            if on_event is not None:
                on_event(event)

        yield from heard(self.watch(job_id, after_sequence, previews), hear)
        if last is None:
            last = (yield from self.get(job_id)).latest
        if last.error is not None:
            raise last.error
        return last

    def fetch_chunks(self, request: wire.FetchRequest) -> Operation[None]:
        """Emits FetchResponse."""
        return transfers.chunks(request, self._outage())

    def fetch(
        self, job_id: str, out: Path, on_progress: OnProgress | None, follow: bool
    ) -> Operation[None]:
        request = wire.FetchRequest(job_id=job_id, follow=follow)
        return transfers.fetch(request, out, on_progress, self._outage)

    def generate(
        self,
        submission: Submission,
        out: Path,
        timeout_s: float | None,
        on_event: OnEvent | None,
        previews: PreviewChoice | None,
    ) -> Operation[None]:
        request = wire.GenerateRequest(
            job=submission_to_wire(submission),
            preview=None if previews is None else previews.to_wire(),
        )
        hear = on_event or (lambda _: None)
        return one_call.generate(request, timeout_s, out, hear, self._outage)

    def _answer(self, method: str, request: Any) -> Operation[Any]:
        """Of a call that may be repeated."""
        outage = self._outage()
        while True:
            try:
                return (yield Ask(method, request, self._timeout_s))
            except UnavailableError as error:
                yield outage.pause(error)

    def _outage(self) -> Outage:
        return Outage(self._retries, self._on_outage)
