"""Where executors run: each kind with the memory that its tensors lie in. What the contract of
`engine/executor.py` says holds in all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import fake_tensorrt
import numpy as np
import onnx
import pytest
from gpu import open_gpu
from made_up_gpu import MadeUpGpu, QueuedGraph
from numpy.typing import NDArray
from onnx import parser

from wan_trt.engine.backend import Backend
from wan_trt.engine.capture import CapturedExecutor
from wan_trt.engine.cuda.backend import CudaBackend
from wan_trt.engine.cuda.graphs import PlanMemory
from wan_trt.engine.errors import ResourceError
from wan_trt.engine.executor import Executor, GraphSpec
from wan_trt.engine.host_backend import HostBackend
from wan_trt.engine.lanes import Lane
from wan_trt.engine.memory.layout import Layout, TensorShape
from wan_trt.engine.memory.tensors import Holding
from wan_trt.engine.ort import OrtExecutor
from wan_trt.engine.ort_cuda import OrtCudaExecutor, load_on_gpu, try_provider
from wan_trt.engine.space import Tensor

LoadFiles = Callable[[Path, Path, GraphSpec], Executor]
"""(graph, folder of weights, spec) -> executor."""


def write_graph(path: Path, text: str, external: tuple[str, int] | None = None) -> Path:
    """A graph from its text, with an external float scalar or vector (name, bytes) where asked."""
    model = parser.parse_model(f'<ir_version: 10, opset_import: ["": 23]> {text}')
    if external is not None:
        name, nbytes = external
        weight = onnx.TensorProto(name=name, data_type=onnx.TensorProto.FLOAT, dims=[nbytes // 4])
        weight.data_location = onnx.TensorProto.EXTERNAL
        places = {"location": f"{path.stem}.bin", "offset": "0", "length": str(nbytes)}
        for key, value in places.items():
            weight.external_data.add(key=key, value=value)
        model.graph.initializer.append(weight)
    path.write_bytes(model.SerializeToString())
    return path


@dataclass
class Rig:
    """One kind of executor, and its backend's memory."""

    backend: Backend
    load: LoadFiles
    _held: list[Holding] = field(default_factory=list)
    _loaded: list[Executor] = field(default_factory=list)
    _launched: list[Any] = field(default_factory=list)

    def executor(self, graph: Path, weights: Path, spec: GraphSpec) -> Executor:
        self._loaded.append(self.load(graph, weights, spec))
        return self._loaded[-1]

    def empty(self, *shape: int, dtype: str = "float32") -> Tensor:
        layout = Layout({"tensor": TensorShape(shape, dtype)})
        self._held.append(self.backend.memory.hold(f"tensor {len(self._held)}", "test", layout))
        return self._held[-1].tensors["tensor"]

    def tensor(self, values: NDArray[Any]) -> Tensor:
        tensor = self.empty(*values.shape, dtype=values.dtype.name)
        self.put(values, tensor)
        return tensor

    def put(self, values: NDArray[Any], tensor: Tensor) -> None:
        self.backend.memory.space.write(tensor, values)

    def get(self, tensor: Tensor) -> NDArray[Any]:
        return self.backend.memory.space.read(tensor)

    def launch(self, executor: Executor, bindings: Any) -> None:
        self._launched.append(bindings)  # kept until all is done
        executor.launch(bindings, self.backend.memory.space.stream)

    def close(self) -> None:
        self.backend.memory.space.wait()
        for executor in self._loaded:
            executor.close()
        for holding in self._held:
            holding.close()
        self.backend.close()


@contextmanager
def on_the_cpu(folder: Path) -> Iterator[Rig]:
    del folder
    rig = Rig(HostBackend(), partial(OrtExecutor, threads=1))
    yield rig
    rig.close()


@contextmanager
def on_the_made_up_gpu(folder: Path, captured: bool = False) -> Iterator[Rig]:
    gpu = MadeUpGpu(folder)
    backend = gpu.backend()

    def load(graph: Path, weights: Path, spec: GraphSpec) -> Executor:
        queued = QueuedGraph(OrtExecutor(graph, weights, spec, threads=1), gpu.cuda)
        return CapturedExecutor(queued, backend.device, graph.stem) if captured else queued

    rig = Rig(backend, load)
    yield rig
    rig.close()
    gpu.require_all_given_back()


@contextmanager
def by_plans_on_the_made_up_gpu(folder: Path) -> Iterator[Rig]:
    """Each graph with its weights as a plan of the made-up TensorRT."""
    gpu = MadeUpGpu(folder)
    with fake_tensorrt.tensorrt_installed(gpu.cuda):
        from wan_trt.engine.tensorrt.executor import TensorRtExecutor
        from wan_trt.engine.tensorrt.logger import ErrorRecorder, process_logger

        backend = gpu.backend()
        logger = process_logger()
        runtime: Any = fake_tensorrt.Runtime(logger)
        runtime.error_recorder = ErrorRecorder(logger)

        def load(graph: Path, weights: Path, spec: GraphSpec) -> Executor:
            plan = fake_tensorrt.plan_bytes(graph, {"w": f"{graph.stem}.bin"}, weights)
            engine = runtime.deserialize_cuda_engine(plan)
            memory = PlanMemory(backend, Lane.CODING, fake_tensorrt.SCRATCH_NBYTES)
            return TensorRtExecutor(graph.stem, spec, lambda _sizes: engine, memory, logger)

        rig = Rig(backend, load)
        yield rig
        rig.close()
        gpu.require_all_given_back()


@contextmanager
def by_the_cuda_provider(folder: Path) -> Iterator[Rig]:
    del folder
    backend = open_cuda_provider()
    stream = backend.spaces[Lane.CODING].stream

    def load(graph: Path, weights: Path, spec: GraphSpec) -> Executor:
        return OrtCudaExecutor(graph, weights, spec, backend.device, stream)

    rig = Rig(backend, load)
    yield rig
    rig.close()


def open_cuda_provider() -> CudaBackend:
    """A GPU and ONNX Runtime's provider for it. Skips the test where either is missing."""
    _, device = open_gpu()
    try:
        try_provider(device.ordinal)
        return CudaBackend(device, load_on_gpu)
    except ResourceError as error:
        pytest.skip(f"needs a GPU with ONNX Runtime's CUDA provider ({error.given})")


GRAPH_RIGS = [
    pytest.param(on_the_cpu, id="CPU"),
    pytest.param(on_the_made_up_gpu, id="made-up GPU"),
    pytest.param(partial(on_the_made_up_gpu, captured=True), id="made-up GPU, captured"),
    pytest.param(by_the_cuda_provider, id="CUDA provider", marks=pytest.mark.gpu),
]
"""Those that load a bundle's graphs themselves."""

RIGS = [*GRAPH_RIGS, pytest.param(by_plans_on_the_made_up_gpu, id="made-up TensorRT")]


def floats(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)
