"""The client for asyncio. Operations say what to do; this is who does it, and lets others work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias, TypeVar

import grpc

from wan_trt.engine.request import Event
from wan_trt.server.address import DEFAULT_ADDRESS, Address
from wan_trt.server.client.bundles import BundleInfo
from wan_trt.server.client.connection import ClientTls, bearer, methods_of, open_async_channel
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
_Steps: TypeAlias = AsyncGenerator[Emit | Done[_Result], None]


class AsyncClient:
    """As `Client`, method by method; made and used in one event loop. Callbacks are called in it.

    Who leaves `watch`, `list_jobs` or `fetch_chunks` early should close them: `async with
    contextlib.aclosing(client.watch(job_id)) as events`.
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
        address = Address.parse(target, "server")
        self.target = str(address)
        self._metadata = bearer(address, tls, token)
        self._channel = open_async_channel(address, tls)
        self._methods = methods_of(self._channel)
        self._do = Operations(self.target, timeout_s, retries or Retries(), on_outage)

    async def require_serving(self, timeout_s: float = 5.0, *, bundle: str = "") -> None:
        await self._result(self._do.require_serving(timeout_s, bundle))

    async def upload(
        self,
        path: Path | str,
        *,
        field: str | None = None,
        name: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> str:
        return await self._result(self._do.upload(Path(path), field, name, on_progress))

    async def submit(self, submission: Submission) -> str:
        return await self._result(self._do.submit(submission))

    async def get(self, job_id: str) -> JobStatus:
        return await self._result(self._do.get(job_id))

    def list_jobs(self, query: JobQuery | None = None) -> AsyncGenerator[JobStatus, None]:
        return self._emitted(self._do.list_jobs(query or JobQuery()))

    async def list_page(
        self, query: JobQuery | None = None, size: int = 50, token: str = ""
    ) -> JobPage:
        return await self._result(self._do.list_page(query or JobQuery(), size, token))

    async def bundles(self) -> tuple[BundleInfo, ...]:
        return await self._result(self._do.bundles())

    async def add_bundle(self, path: str, name: str = "") -> BundleInfo:
        return await self._result(self._do.add_bundle(path, name))

    async def drain_bundle(self, name: str) -> BundleInfo:
        return await self._result(self._do.drain_bundle(name))

    async def remove_bundle(self, name: str, *, cancel_jobs: bool = False) -> BundleInfo:
        return await self._result(self._do.remove_bundle(name, cancel_jobs))

    def watch(
        self, job_id: str, after_sequence: int = 0, *, previews: PreviewChoice | None = None
    ) -> AsyncGenerator[Event, None]:
        return self._emitted(self._do.watch(job_id, after_sequence, previews))

    async def wait(
        self,
        job_id: str,
        on_event: OnEvent | None = None,
        after_sequence: int = 0,
        *,
        previews: PreviewChoice | None = None,
    ) -> Event:
        return await self._result(self._do.wait(job_id, on_event, after_sequence, previews))

    async def cancel(self, job_id: str) -> JobStatus:
        return await self._result(self._do.cancel(job_id))

    async def fetch_chunks(
        self,
        job_id: str,
        offset: int = 0,
        *,
        artifact: wire.Artifact = wire.ARTIFACT_RESULT,
        frame: int = 0,
        follow: bool = False,
    ) -> AsyncGenerator[bytes, None]:
        request = wire.FetchRequest(
            job_id=job_id, offset=offset, artifact=artifact, frame=frame, follow=follow
        )
        async with aclosing(self._emitted(self._do.fetch_chunks(request))) as messages:
            async for message in messages:
                yield message.chunk

    async def fetch(
        self,
        job_id: str,
        out: Path | str,
        *,
        on_progress: OnProgress | None = None,
        follow: bool = False,
    ) -> None:
        await self._result(self._do.fetch(job_id, Path(out), on_progress, follow))

    async def generate(
        self,
        submission: Submission,
        out: Path | str,
        *,
        timeout_s: float | None = None,
        on_event: OnEvent | None = None,
        previews: PreviewChoice | None = None,
    ) -> None:
        await self._result(self._do.generate(submission, Path(out), timeout_s, on_event, previews))

    async def close(self) -> None:
        await self._channel.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _result(self, operation: Operation[_Result]) -> _Result:
        async with aclosing(self._steps(operation)) as steps:
            async for step in steps:
                if isinstance(step, Done):
                    return step.value
        raise AssertionError("an operation without an end")

    async def _emitted(self, operation: Operation[None]) -> AsyncGenerator[Any, None]:
        async with aclosing(self._steps(operation)) as steps:
            async for step in steps:
                if isinstance(step, Emit):
                    yield step.value

    async def _steps(self, operation: Operation[_Result]) -> _Steps[_Result]:
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
                        outcome = await self._outcome(step, stream)
                step = advance(operation, outcome)
        finally:
            operation.close()
            if stream is not None:
                stream.cancel()

    async def _outcome(self, effect: Effect, stream: Any) -> Any:
        try:
            match effect:
                case Ask():
                    return await self._methods[effect.method](
                        effect.request, timeout=effect.timeout_s, metadata=self._metadata
                    )
                case Send():
                    return await self._methods[effect.method](
                        effect.messages(), metadata=self._metadata
                    )
                case Receive():
                    message = await stream.read()
                    return None if message is grpc.aio.EOF else message
                case Pause():
                    await asyncio.sleep(effect.seconds)
                case Do():
                    return await asyncio.to_thread(effect.action)
        except grpc.RpcError as error:
            return error_of_call(error, self.target)
        except Exception as error:
            return error
        return None
