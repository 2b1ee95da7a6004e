"""A GPU for whole jobs without one: the made-up driver, kernels compiled by g++, and graphs that
ONNX Runtime's CPU provider runs when the made-up stream comes to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict, Unpack

import pytest
from fake_virtual_memory import FakeVirtualMemory, QueuedWork
from host_kernels import compile_for_host

from wan_trt.engine.binding import bound_tensors
from wan_trt.engine.bundle import Bundle
from wan_trt.engine.capture import REPLAYED, CapturedExecutor
from wan_trt.engine.cuda.backend import CudaBackend, LoadOnGpu
from wan_trt.engine.cuda.device_tensor import DeviceTensor
from wan_trt.engine.cuda.driver import Device, Kernel
from wan_trt.engine.cuda.nvrtc import KernelSource
from wan_trt.engine.errors import ResourceError
from wan_trt.engine.executor import Bindings, Executor, GraphSpec
from wan_trt.engine.lanes import Lane
from wan_trt.engine.memory.host import array_at
from wan_trt.engine.ort import OrtExecutor, load_executor

MEMORY_NBYTES = 2 << 30


@dataclass(frozen=True)
class QueuedBindings:
    """Device tensors, and the same memory as the arrays that ONNX Runtime knows."""

    inputs: Mapping[str, DeviceTensor]
    outputs: Mapping[str, DeviceTensor]
    arrays: Bindings


class QueuedGraph:
    """An `Executor` on the made-up GPU: a launch puts a run on the stream, as late as any work."""

    def __init__(
        self, executor: OrtExecutor, cuda: FakeVirtualMemory, weights_nbytes: int = 0
    ) -> None:
        """Its weights take memory of the GPU as long as it is open."""
        try:
            cuda.take(weights_nbytes)
        except MemoryError as error:
            raise ResourceError(f"out of memory: {error}") from error
        self._executor = executor
        self._cuda = cuda
        self._weights_nbytes = weights_nbytes
        self.spec: GraphSpec = executor.spec

    def bind(
        self, sizes: Mapping[str, int], tensors: Mapping[str, DeviceTensor] | None = None
    ) -> QueuedBindings:
        inputs, outputs = bound_tensors("a queued graph", self.spec, sizes, tensors)
        arrays = {
            name: array_at(tensor.address, tensor.shape, tensor.dtype)
            for name, tensor in (inputs | outputs).items()
        }
        return QueuedBindings(inputs, outputs, self._executor.bind(sizes, arrays))

    def launch(self, bindings: Bindings, stream: int | None = None) -> None:
        if not isinstance(bindings, QueuedBindings) or stream is None:
            raise ValueError("a queued graph launches its own bindings on a stream")
        self._executor.require_open()
        tensors = (*bindings.inputs.values(), *bindings.outputs.values())
        ranges = tuple((tensor.address, tensor.nbytes) for tensor in tensors)
        self._cuda.enqueue(
            stream,
            QueuedWork(self._cuda, ranges, lambda: self._executor.launch(bindings.arrays)),
        )

    def close(self) -> None:
        self._executor.close()
        self._cuda.give_back(self._weights_nbytes)
        self._weights_nbytes = 0


class Options(TypedDict, total=False):
    """Of a `CudaBackend`."""

    experts_nbytes: int | None
    lanes: tuple[Lane, ...]
    pages_nbytes: int | None


@dataclass
class MadeUpGpu:
    """What a test sees of the machine. Kernels are compiled in `folder`; graphs take
    `weights_nbytes` of its memory by their names, or none."""

    folder: Path
    nbytes: int = MEMORY_NBYTES
    weights_nbytes: dict[str, int] = field(default_factory=dict)
    cuda: FakeVirtualMemory = field(init=False)
    captured: list[CapturedExecutor] = field(default_factory=list)

    def __post_init__(self) -> None:
        pytest.importorskip("cuda.bindings.driver", reason="needs cuda-bindings (extra `cuda`)")
        self.cuda = FakeVirtualMemory(self.nbytes)

    def backend(self, load: LoadOnGpu | None = None, **options: Unpack[Options]) -> CudaBackend:
        """Denoiser and VAE are captured and replayed, unless `load` makes the executors."""
        device = Device(bindings=self.cuda)
        return CudaBackend(device, load or self.load, self._load_kernel, **options)

    def load(self, bundle: Bundle, graph: str, weight_set: str, backend: CudaBackend) -> Executor:
        executor = load_executor(bundle, graph, weight_set, threads=1)
        queued = QueuedGraph(executor, self.cuda, self.weights_nbytes.get(graph, 0))
        if graph not in REPLAYED:
            return queued
        self.captured.append(CapturedExecutor(queued, backend.device, graph))
        return self.captured[-1]

    def _load_kernel(self, device: Device, source: KernelSource) -> Kernel:
        image = compile_for_host(source, self.folder)
        return device.load_kernel(image, source.name, source.argument_types)

    @property
    def captures(self) -> int:
        return sum(executor.counts.captures for executor in self.captured)

    def require_all_given_back(self) -> None:
        """After the engine is closed."""
        assert self.cuda.live == {}
        assert not self.cuda.mappings, "pages are mapped still"
        assert not self.cuda.handles, "memory of pages was not released"
        assert not self.cuda.reserved, "addresses are reserved still"
