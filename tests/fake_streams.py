# ruff: noqa: ARG002, N802
"""Streams, events and graphs of `fake_cuda`: work is done as late as the driver would allow."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from itertools import count
from typing import Any

Work = Callable[[], object]
CODES = (
    "CUDA_SUCCESS CUDA_ERROR_INVALID_VALUE CUDA_ERROR_INVALID_HANDLE CUDA_ERROR_INVALID_CONTEXT "
    "CUDA_ERROR_NO_DEVICE CUDA_ERROR_OUT_OF_MEMORY CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED "
    "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED CUDA_ERROR_ILLEGAL_STATE CUDA_ERROR_LAUNCH_FAILED"
)


def _codes() -> Any:
    return Enum("CUresult", CODES.split(), start=0)


class Refused(Exception):  # noqa: N818
    pass


@dataclass
class Stream:
    queue: deque[Work] = field(default_factory=deque)
    nodes: list[Work] | None = None  # during a capture
    capturer: int = 0  # the thread that began it
    invalid: bool = False

    def run(self) -> None:
        while self.queue:
            self.queue.popleft()()


@dataclass
class Record:
    """One recording of an event: who waits for it does so though the event is recorded again."""

    stream: Stream
    reached: bool = False

    def mark(self) -> None:
        self.reached = True

    def reach(self) -> None:
        while not self.reached:
            self.stream.queue.popleft()()


@dataclass
class Event:
    last: Record | None = None


def driver_call(function: Callable[..., Any]) -> Callable[..., Any]:
    """A driver call: (code,) and what the function returns."""

    def call(self: FakeStreams, *arguments: Any) -> tuple[Any, ...]:
        with self.lock:
            return locked(self, *arguments)

    def locked(self: FakeStreams, *arguments: Any) -> tuple[Any, ...]:
        self.calls.append(function.__name__)
        if not self.has_context(function.__name__):
            return (self.CUresult["CUDA_ERROR_INVALID_CONTEXT"],)
        if function.__name__ in self.failures:
            return (self.CUresult[self.failures[function.__name__]],)
        try:
            result = function(self, *arguments)
        except Refused as refusal:
            return (self.CUresult[str(refusal)],)
        values = result if isinstance(result, tuple) else () if result is None else (result,)
        return (self.CUresult.CUDA_SUCCESS, *values)

    call.__name__ = function.__name__
    return call


class FakeStreams:
    """`failures` maps a call's name to the code that it shall return; `calls` are those made."""

    CUresult = _codes()
    CUstream_flags = IntEnum("CUstream_flags", "CU_STREAM_NON_BLOCKING")
    CUevent_flags = IntEnum("CUevent_flags", "CU_EVENT_DEFAULT CU_EVENT_DISABLE_TIMING", start=0)
    CUstreamCaptureMode = IntEnum("CUstreamCaptureMode", "CU_STREAM_CAPTURE_MODE_THREAD_LOCAL")

    def __init__(self) -> None:
        self.lock = threading.RLock()  # any thread may call the driver
        self.failures: dict[str, str] = {}
        self.calls: list[str] = []
        self.threads: set[int] = set()  # on which the context is current
        self._handles = count(1)
        self._streams: dict[int, Stream] = {}
        self._events: dict[int, Event] = {}
        self._graphs: dict[int, list[Work]] = {}
        self._executables: dict[int, list[Work]] = {}

    def has_context(self, call: str) -> bool:
        """Whether this thread may make a call: once a thread has made a context current, others
        must too."""
        free = call.startswith(("cuInit", "cuDevice", "cuDriver", "cuCtxSetCurrent"))
        return free or not self.threads or threading.get_ident() in self.threads

    def pending(self, stream: int) -> int:
        """How much enqueued work is not done."""
        return len(self._streams[stream].queue)

    @property
    def capturing(self) -> bool:
        return any(stream.nodes is not None for stream in self._streams.values())

    def _no_capture(self, stream: Stream | None = None) -> None:
        """What a capture of this thread forbids, or one of the stream, also spoils it."""
        here = threading.get_ident()
        captured = [one for one in self._streams.values() if one.nodes is not None]
        spoilt = [one for one in captured if one is stream or one.capturer == here]
        for one in spoilt:
            one.invalid = True
        if spoilt:
            raise Refused("CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED")

    def spoil_captures(self) -> bool:
        """What waiting for the whole GPU does to captures of any thread; whether there were some,
        and the wait is refused."""
        with self.lock:
            captured = [one for one in self._streams.values() if one.nodes is not None]
            for one in captured:
                one.invalid = True
            return bool(captured)

    def _get(self, things: dict[int, Any], handle: int) -> Any:
        if handle not in things:
            raise Refused("CUDA_ERROR_INVALID_HANDLE")
        return things[handle]

    def _add(self, things: dict[int, Any], thing: Any) -> int:
        handle = next(self._handles)
        things[handle] = thing
        return handle

    def enqueue(self, stream: int, work: Work) -> None:
        """What a library would put on a stream through the driver."""
        with self.lock:
            self._enqueue(stream, work)

    def _enqueue(self, stream: int, work: Work) -> None:
        target = self._get(self._streams, stream)
        if target.invalid:
            raise Refused("CUDA_ERROR_STREAM_CAPTURE_INVALIDATED")
        (target.queue if target.nodes is None else target.nodes).append(work)

    # Streams and events

    @driver_call
    def cuStreamCreateWithPriority(self, flags: int, priority: int) -> int:
        return self._add(self._streams, Stream())

    @driver_call
    def cuStreamDestroy(self, stream: int) -> None:
        self._get(self._streams, stream).run()
        del self._streams[stream]

    @driver_call
    def cuStreamSynchronize(self, stream: int) -> None:
        found: Stream = self._get(self._streams, stream)
        self._no_capture(found)
        found.run()

    @driver_call
    def cuCtxSynchronize(self) -> None:
        if self.spoil_captures():
            raise Refused("CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED")
        for stream in self._streams.values():
            stream.run()

    @driver_call
    def cuEventCreate(self, flags: int) -> int:
        return self._add(self._events, Event())

    @driver_call
    def cuEventDestroy(self, event: int) -> None:
        del self._events[event]

    @driver_call
    def cuEventRecord(self, event: int, stream: int) -> None:
        found: Event = self._get(self._events, event)
        found.last = Record(self._get(self._streams, stream))
        self._enqueue(stream, found.last.mark)

    @driver_call
    def cuEventSynchronize(self, event: int) -> None:
        self._no_capture()
        found: Event = self._get(self._events, event)
        if found.last is not None:
            found.last.reach()

    @driver_call
    def cuStreamWaitEvent(self, stream: int, event: int, flags: int) -> None:
        found: Event = self._get(self._events, event)
        if found.last is not None:
            self._enqueue(stream, found.last.reach)

    @driver_call
    def cuEventElapsedTime(self, start: int, end: int) -> float:
        return 0.0

    # Graphs

    @driver_call
    def cuStreamBeginCapture(self, stream: int, mode: int) -> None:
        if not stream:
            raise Refused("CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED")
        target: Stream = self._get(self._streams, stream)
        if target.nodes is not None:
            raise Refused("CUDA_ERROR_ILLEGAL_STATE")
        target.nodes, target.capturer = [], threading.get_ident()

    @driver_call
    def cuStreamEndCapture(self, stream: int) -> int:
        target: Stream = self._get(self._streams, stream)
        nodes, target.nodes = target.nodes, None
        if nodes is None:
            raise Refused("CUDA_ERROR_ILLEGAL_STATE")
        if target.invalid:
            target.invalid = False
            raise Refused("CUDA_ERROR_STREAM_CAPTURE_INVALIDATED")
        return self._add(self._graphs, nodes)

    @driver_call
    def cuGraphInstantiate(self, graph: int, flags: int) -> int:
        return self._add(self._executables, list(self._get(self._graphs, graph)))

    @driver_call
    def cuGraphLaunch(self, executable: int, stream: int) -> None:
        for work in self._get(self._executables, executable):
            self._enqueue(stream, work)

    @driver_call
    def cuGraphDestroy(self, graph: int) -> None:
        self._get(self._graphs, graph)
        del self._graphs[graph]

    @driver_call
    def cuGraphExecDestroy(self, executable: int) -> None:
        self._get(self._executables, executable)
        del self._executables[executable]
