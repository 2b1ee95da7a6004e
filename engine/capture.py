"""A CUDA graph around any executor on a GPU: launches are recorded once and replayed.

    first launch    run as it is (the warm-up, whose results count), then recorded, not run
    later ones      the graph is replayed: one call of the driver, whatever the executor enqueues

A graph holds the addresses that it was recorded with, so each set of bound addresses has one: a
recurrent graph that swaps its caches has a graph for either direction, and so has each guidance
branch, and each job that is under way. Memory that is paged under fixed addresses may come and go
between replays. Whatever else the executor reads must lie at fixed addresses too, and live as long
as the graph: so it is kept with the bindings that it was recorded from, and whoever binds the same
addresses again gets those. TensorRT's contexts have memory of their own that their kernels use.

A capture that fails costs no job anything: those bindings are launched without one from then on.
One that would disturb a load is put off to the next launch.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from wan_trt.engine.binding import bound_tensors
from wan_trt.engine.cuda.device_tensor import DeviceTensor
from wan_trt.engine.cuda.driver import Device
from wan_trt.engine.errors import WanTrtError
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

_log = logging.getLogger(__name__)

_Key = tuple[frozenset[tuple[str, int]], tuple[int, ...]]


@dataclass(frozen=True)
class CapturedBindings:
    """Tensors, the executor's bindings that use them, and which of its graphs they run."""

    bindings: Bindings
    inputs: Mapping[str, DeviceTensor]
    outputs: Mapping[str, DeviceTensor]
    key: _Key


@dataclass(frozen=True)
class _Recorded:
    """A graph, and the bindings without which it must not be replayed. None: it cannot be had."""

    executable: int | None
    bindings: Bindings


@dataclass
class CaptureCounts:
    """What an executor's launches came to. In steady state only `replays` grows."""

    captures: int = 0
    recaptures: int = 0  # of them, in the place of a graph that was recorded before
    failures: int = 0  # sets of addresses that are launched without a graph
    replays: int = 0


class CapturedExecutor:
    """An executor whose launches are replays, all on one stream. It owns the executor and closes
    it."""

    def __init__(
        self, executor: Executor, device: Device, name: str, kept: int = GRAPHS_KEPT
    ) -> None:
        """`name` is what messages call the executor. Of more than `kept` sets of addresses, those
        that were used longest ago are forgotten."""
        self._executor = executor
        self._device = device
        self._name = name
        self._kept = kept
        self._recorded: OrderedDict[_Key, _Recorded] = OrderedDict()
        self.counts = CaptureCounts()

    @property
    def spec(self) -> GraphSpec:
        return self._executor.spec

    def bind(
        self, sizes: Mapping[str, int], tensors: Mapping[str, DeviceTensor] | None = None
    ) -> CapturedBindings:
        """See `Executor.bind`; all tensors are given."""
        inputs, outputs = bound_tensors(self._name, self.spec, sizes, tensors)
        addresses = tuple(tensor.address for tensor in (*inputs.values(), *outputs.values()))
        key = frozenset(sizes.items()), addresses
        known = self._recorded.get(key)
        bindings = self._executor.bind(sizes, tensors) if known is None else known.bindings
        return CapturedBindings(bindings, inputs, outputs, key)

    def launch(self, bindings: Bindings, stream: int | None = None) -> None:
        """Enqueue the graph on a stream other than the default one, which cannot be captured.

        Raises as the executor's own launch.
        """
        if not stream or not isinstance(bindings, CapturedBindings):
            raise ValueError("a captured executor launches its own bindings on a stream of its own")
        recorded = self._recorded.get(bindings.key)
        if recorded is not None:
            self._recorded.move_to_end(bindings.key)
            if recorded.executable is not None:
                self._device.launch_graph(recorded.executable, stream)
                self.counts.replays += 1
                return
        self._executor.launch(bindings.bindings, stream)
        if recorded is None:
            with self._device.gate.capture() as free:
                if free:
                    self._record(bindings, stream)

    def _record(self, bindings: CapturedBindings, stream: int) -> None:
        executable = None
        try:
            executable = self._capture(bindings.bindings, stream)
        except WanTrtError as error:
            if not self.counts.failures:
                _log.warning(
                    "%s cannot be captured as a CUDA graph and runs without: %s", self._name, error
                )
            self.counts.failures += 1
        else:
            self.counts.captures += 1
        self._recorded[bindings.key] = _Recorded(executable, bindings.bindings)
        if len(self._recorded) > self._kept:
            _, oldest = self._recorded.popitem(last=False)
            self.counts.recaptures += oldest.executable is not None
            self._device.synchronize(stream)  # its kernels use what goes with its bindings
            self._forget(oldest)

    def _capture(self, bindings: Bindings, stream: int) -> int:
        self._device.begin_capture(stream)
        try:
            self._executor.launch(bindings, stream)
        except BaseException:
            self._abandon_capture(stream)
            raise
        graph = self._device.end_capture(stream)
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

    def _forget(self, recorded: _Recorded) -> None:
        if recorded.executable is not None:
            self._device.destroy_executable(recorded.executable)

    def close(self) -> None:
        """Free the graphs, then what they use, and close the executor."""
        for recorded in self._recorded.values():
            self._forget(recorded)
        self._recorded.clear()
        self._executor.close()
