"""A CUDA graph around any executor on a GPU: launches are recorded once and replayed.

    first launch    run as it is (the warm-up, whose results count), then recorded, not run
    later ones      the graph is replayed: one call of the driver, whatever the executor enqueues
    new addresses   as the first: a graph holds the addresses that it was recorded with

A graph belongs to an executor, a size and a parity: a recurrent graph that swaps its caches has one
binding, and one graph, for either direction. Memory that is paged under fixed addresses may come
and go between replays. Whatever else the executor reads must lie at fixed addresses too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from wan_trt.engine.cuda.device_tensor import DeviceTensor
from wan_trt.engine.cuda.driver import Device
from wan_trt.engine.errors import ExecutionError, WanTrtError
from wan_trt.engine.executor import GraphSpec


class DeviceBindings(Protocol):
    """Named tensors of one size in device memory: `Bindings` of an executor on a GPU."""

    @property
    def inputs(self) -> Mapping[str, DeviceTensor]: ...

    @property
    def outputs(self) -> Mapping[str, DeviceTensor]: ...


B = TypeVar("B", bound=DeviceBindings)


class DeviceExecutor(Protocol[B]):
    """`Executor` on a GPU. `launch` only enqueues: it neither waits nor allocates."""

    @property
    def spec(self) -> GraphSpec: ...

    def bind(
        self, sizes: Mapping[str, int], tensors: Mapping[str, DeviceTensor] | None = None
    ) -> B: ...

    def launch(self, bindings: B, stream: int | None = None) -> None: ...

    def close(self) -> None: ...


Key = tuple[frozenset[tuple[str, int]], int]


@dataclass(frozen=True)
class CapturedBindings(Generic[B]):
    """An executor's bindings, and which of its graphs they run."""

    bindings: B
    key: Key

    @property
    def inputs(self) -> Mapping[str, DeviceTensor]:
        return self.bindings.inputs

    @property
    def outputs(self) -> Mapping[str, DeviceTensor]:
        return self.bindings.outputs

    def addresses(self) -> tuple[int, ...]:
        return tuple(t.address for t in (*self.inputs.values(), *self.outputs.values()))


@dataclass
class CaptureCounts:
    """What an executor's launches came to. In steady state only `replays` grows."""

    captures: int = 0
    recaptures: int = 0  # of them, because addresses had changed
    replays: int = 0


@dataclass(frozen=True)
class _Graph:
    executable: int
    addresses: tuple[int, ...]


class CapturedExecutor(Generic[B]):
    """An executor whose launches are replays. It owns the executor and closes it."""

    def __init__(self, executor: DeviceExecutor[B], device: Device, name: str) -> None:
        """`name` is what errors call the executor."""
        self._executor = executor
        self._device = device
        self._name = name
        self._graphs: dict[Key, _Graph] = {}
        self.counts = CaptureCounts()

    @property
    def spec(self) -> GraphSpec:
        return self._executor.spec

    def bind(
        self,
        sizes: Mapping[str, int],
        tensors: Mapping[str, DeviceTensor] | None = None,
        parity: int = 0,
    ) -> CapturedBindings[B]:
        """See `Executor.bind`. Bindings of one size that are used in turn differ in `parity`."""
        bindings = self._executor.bind(sizes, tensors)
        return CapturedBindings(bindings, (frozenset(sizes.items()), parity))

    def launch(self, bindings: CapturedBindings[B], stream: int | None = None) -> None:
        """Enqueue the graph on a stream other than the default one, which cannot be captured.

        Raises ExecutionError where the executor does what a capture forbids (waiting, allocating).
        """
        if not stream:
            raise ValueError("a captured executor needs a stream of its own")
        addresses = bindings.addresses()
        graph = self._graphs.get(bindings.key)
        if graph is not None and graph.addresses == addresses:
            self._device.launch_graph(graph.executable, stream)
            self.counts.replays += 1
            return
        self._executor.launch(bindings.bindings, stream)
        executable = self._capture(bindings.bindings, stream)
        self._graphs[bindings.key] = _Graph(executable, addresses)
        self.counts.captures += 1
        if graph is not None:
            self._device.destroy_executable(graph.executable)
            self.counts.recaptures += 1

    def _capture(self, bindings: B, stream: int) -> int:
        self._device.begin_capture(stream)
        try:
            self._executor.launch(bindings, stream)
        except BaseException as error:
            self._abandon_capture(stream)
            if isinstance(error, WanTrtError):
                raise self._failed(str(error)) from error
            raise
        try:
            graph = self._device.end_capture(stream)
        except ExecutionError as error:
            raise self._failed(str(error)) from error
        try:
            return self._device.instantiate(graph)
        finally:
            self._device.destroy_graph(graph)

    def _abandon_capture(self, stream: int) -> None:
        """A stream left in capture would take nothing any more."""
        try:
            graph = self._device.end_capture(stream)
        except WanTrtError:  # what was forbidden has ended the capture, and there is no graph
            return
        self._device.destroy_graph(graph)

    def _failed(self, reason: str) -> ExecutionError:
        return ExecutionError(
            f"{self._name} cannot be captured as a CUDA graph: {reason}",
            expected="an executor that only enqueues work on the stream it is given",
            action="run it without capture",
        )

    def close(self) -> None:
        """Free the graphs and close the executor."""
        for graph in self._graphs.values():
            self._device.destroy_executable(graph.executable)
        self._graphs.clear()
        self._executor.close()
