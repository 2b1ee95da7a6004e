"""A CUDA graph around any executor on a GPU: launches are recorded once and replayed.

    first launch    run as it is (the warm-up, whose results count), then recorded, not run
    later ones      the graph is replayed: one call of the driver, whatever the executor enqueues

A graph holds the addresses that it was recorded with, so each set of bound addresses has one: a
recurrent graph that swaps its caches has a graph for either direction, and so has each guidance
branch, and each job that is under way. Memory that is paged under fixed addresses may come and go
between replays. Whatever else the executor reads must lie at fixed addresses too.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from wan_trt.engine.cuda.device_tensor import DeviceTensor
from wan_trt.engine.cuda.driver import Device
from wan_trt.engine.errors import ExecutionError, WanTrtError
from wan_trt.engine.executor import Bindings, Executor, GraphSpec
from wan_trt.engine.models import DENOISER

REPLAYED = (
    DENOISER,
    "vae_encoder_first",
    "vae_encoder_next",
    "vae_decoder_first",
    "vae_decoder_next",
)
"""Graphs that are launched again and again; the others run once a segment or a job."""

GRAPHS_KEPT = 16
"""Of one executor: two branches for each of eight jobs under way."""

_Key = tuple[frozenset[tuple[str, int]], tuple[int, ...]]


@dataclass(frozen=True)
class CapturedBindings:
    """An executor's bindings, and which of its graphs they run."""

    bindings: Bindings
    sizes: frozenset[tuple[str, int]]

    @property
    def inputs(self) -> Mapping[str, DeviceTensor]:
        return self.bindings.inputs

    @property
    def outputs(self) -> Mapping[str, DeviceTensor]:
        return self.bindings.outputs

    @property
    def key(self) -> _Key:
        tensors = (*self.inputs.values(), *self.outputs.values())
        return self.sizes, tuple(tensor.address for tensor in tensors)


@dataclass
class CaptureCounts:
    """What an executor's launches came to. In steady state only `replays` grows."""

    captures: int = 0
    recaptures: int = 0  # of them, in the place of a graph that was recorded before
    replays: int = 0


class CapturedExecutor:
    """An executor whose launches are replays. It owns the executor and closes it."""

    def __init__(
        self, executor: Executor, device: Device, name: str, kept: int = GRAPHS_KEPT
    ) -> None:
        """`name` is what errors call the executor. Of more than `kept` sets of addresses, those
        that were used longest ago are forgotten."""
        self._executor = executor
        self._device = device
        self._name = name
        self._kept = kept
        self._graphs: OrderedDict[_Key, int] = OrderedDict()
        self.counts = CaptureCounts()

    @property
    def spec(self) -> GraphSpec:
        return self._executor.spec

    def bind(
        self, sizes: Mapping[str, int], tensors: Mapping[str, DeviceTensor] | None = None
    ) -> CapturedBindings:
        """See `Executor.bind`."""
        return CapturedBindings(self._executor.bind(sizes, tensors), frozenset(sizes.items()))

    def launch(self, bindings: Bindings, stream: int | None = None) -> None:
        """Enqueue the graph on a stream other than the default one, which cannot be captured.

        Raises ExecutionError where the executor does what a capture forbids (waiting, allocating).
        """
        if not stream or not isinstance(bindings, CapturedBindings):
            raise ValueError("a captured executor launches its own bindings on a stream of its own")
        key = bindings.key
        if (executable := self._graphs.get(key)) is not None:
            self._graphs.move_to_end(key)
            self._device.launch_graph(executable, stream)
            self.counts.replays += 1
            return
        self._executor.launch(bindings.bindings, stream)
        self._graphs[key] = self._capture(bindings.bindings, stream)
        self.counts.captures += 1
        if len(self._graphs) > self._kept:
            self._device.destroy_executable(self._graphs.popitem(last=False)[1])
            self.counts.recaptures += 1

    def _capture(self, bindings: Bindings, stream: int) -> int:
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
        for executable in self._graphs.values():
            self._device.destroy_executable(executable)
        self._graphs.clear()
        self._executor.close()
