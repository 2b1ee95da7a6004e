# ruff: noqa: F401
"""`tensorrt` without TensorRT, for what runs plans: ONNX Runtime behind the calls of the 11.4 API.

A plan is an ONNX file with its weights in it, and says how much of the GPU's memory its engine
takes. A launch runs on a stream of `fake_cuda`, as late as the driver would allow, and leaves its
scratch full of rubbish. What TensorRT's documentation forbids is refused as TensorRT does it: False
or None, and a report to the recorder. What would be undefined there is an AssertionError: work of a
context that is gone, whether it was enqueued or is replayed, because a context takes memory that
its kernels use along. Reading a plan and making a context may wait for the whole GPU: beside a
capture of any thread they fail.
`tests/trt` compares the names with those of the genuine module.
`fake_tensorrt_build` has the half that makes plans.
"""

from __future__ import annotations

import ctypes
import sys
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
from fake_cuda import FakeCuda
from fake_tensorrt_build import (
    Builder,
    BuilderFlag,
    Dims,
    EngineInspector,
    IBuilderConfig,
    INetworkDefinition,
    IProgressMonitor,
    ITimingCache,
    LayerInformationFormat,
    MemoryPoolType,
    OnnxParser,
    ProfilingVerbosity,
)

SCRATCH_NBYTES = 3000
_ENGINE_NBYTES = "engine_nbytes"
ALIGNMENT = 256
_CAPTURED_FIRST = "the first enqueue of a context cannot be captured"


class ErrorCodeTRT(Enum):
    UNSPECIFIED_ERROR = 1
    INVALID_ARGUMENT = 3
    FAILED_INITIALIZATION = 5
    FAILED_EXECUTION = 6
    FAILED_ALLOCATION = 7
    INVALID_STATE = 9


class TensorIOMode(Enum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class ExecutionContextAllocationStrategy(Enum):
    STATIC = 0
    ON_PROFILE_CHANGE = 1
    USER_MANAGED = 2


class ILogger:
    class Severity(Enum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3
        VERBOSE = 4

    def log(self, severity: ILogger.Severity, msg: str) -> None:
        raise NotImplementedError


class IErrorRecorder:
    def report_error(self, arg0: ErrorCodeTRT, arg1: str) -> bool:
        raise NotImplementedError


class Runtime:
    """Its engines run on `cuda`, which a test sets. As in the genuine one, the first logger of all
    hears what is said without saying for whom."""

    cuda: FakeCuda
    first_logger: weakref.ref[ILogger] | None = None

    def __init__(self, logger: ILogger) -> None:
        self.logger = logger
        self.error_recorder: IErrorRecorder | None = None
        if Runtime.first_logger is None or Runtime.first_logger() is None:
            Runtime.first_logger = weakref.ref(logger)

    def deserialize_cuda_engine(self, serialized_engine: Any) -> ICudaEngine | None:
        assert self.error_recorder is not None
        try:
            assert not self.cuda.spoil_captures(), "something waited for the whole GPU"
            return ICudaEngine(bytes(serialized_engine), self.error_recorder, self.cuda)
        except MemoryError as error:
            code = ErrorCodeTRT.FAILED_ALLOCATION
            self.error_recorder.report_error(code, f"out of memory: {error}")
            return None
        except Exception as error:
            code = ErrorCodeTRT.FAILED_INITIALIZATION
            self.error_recorder.report_error(code, f"the magic tag does not match ({error})")
            first = Runtime.first_logger and Runtime.first_logger()
            assert first, "the first logger is gone, and objects are made still"
            first.log(ILogger.Severity.ERROR, "deserialization failed")
            return None


class ICudaEngine:
    num_aux_streams = 1
    device_memory_size_v2 = SCRATCH_NBYTES

    def __init__(self, plan: bytes, recorder: IErrorRecorder, cuda: FakeCuda) -> None:
        self.error_recorder = recorder
        self.session = onnxruntime.InferenceSession(plan, providers=["CPUExecutionProvider"])
        nbytes = int(self.session.get_modelmeta().custom_metadata_map.get(_ENGINE_NBYTES, "0"))
        cuda.take(nbytes)
        weakref.finalize(self, cuda.give_back, nbytes)  # contexts keep it as well
        self.types: dict[str, np.dtype[Any]] = {
            value.name: np.dtype({"tensor(float)": "float32", "tensor(int64)": "int64"}[value.type])
            for value in (*self.session.get_inputs(), *self.session.get_outputs())
        }
        self._inputs: list[str] = [value.name for value in self.session.get_inputs()]
        self._cuda = cuda

    @property
    def num_io_tensors(self) -> int:
        return len(self.types)

    def get_tensor_name(self, index: int) -> str:
        return list(self.types)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

    def create_engine_inspector(self) -> EngineInspector:
        return EngineInspector([f"reads {name}" for name in self._inputs])

    def create_execution_context(
        self, strategy: ExecutionContextAllocationStrategy
    ) -> IExecutionContext | None:
        assert strategy is ExecutionContextAllocationStrategy.USER_MANAGED
        if self._cuda.spoil_captures():
            self.error_recorder.report_error(ErrorCodeTRT.INVALID_STATE, "a stream is captured")
            return None
        return IExecutionContext(self, self._cuda)


class IExecutionContext:
    def __init__(self, engine: ICudaEngine, cuda: FakeCuda) -> None:
        self.engine = engine
        self._cuda = cuda
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._scratch = 0
        self._streams: Sequence[int] = ()
        self._launched = False
        self.nvtx_verbosity = ProfilingVerbosity.DETAILED  # with which plans are built

    def _refuse(self, code: ErrorCodeTRT, reason: str) -> bool:
        self.engine.error_recorder.report_error(code, reason)
        return False

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        [rank] = (len(v.shape) for v in self.engine.session.get_inputs() if v.name == name)
        if rank != len(shape):
            return self._refuse(ErrorCodeTRT.INVALID_ARGUMENT, f"{name} has {rank} dimensions")
        self._shapes[name] = shape
        return True

    def infer_shapes(self) -> list[str]:
        names = [value.name for value in self.engine.session.get_inputs()]
        return [name for name in names if name not in self._shapes]

    def update_device_memory_size_for_shapes(self) -> int:
        """Less than what `set_device_memory` asks for, whatever the shapes."""
        return 0 if self.infer_shapes() else SCRATCH_NBYTES // 2

    def set_device_memory(self, memory: int, size: int) -> None:
        assert memory % ALIGNMENT == 0
        if size >= self.engine.device_memory_size_v2:
            self._scratch = memory
        else:
            self._refuse(ErrorCodeTRT.INVALID_ARGUMENT, "the memory is too small")

    def set_aux_streams(self, aux_streams: Sequence[int]) -> None:
        self._streams = aux_streams

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if memory % ALIGNMENT:
            return self._refuse(ErrorCodeTRT.INVALID_ARGUMENT, f"{name} is not aligned")
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        missing = [name for name in self.engine.types if name not in self._addresses]
        if missing or not self._scratch or len(self._streams) < self.engine.num_aux_streams:
            return self._refuse(ErrorCodeTRT.INVALID_STATE, f"not set: {missing or 'memory'}")
        if not self._launched and self._cuda.capturing:
            return self._refuse(ErrorCodeTRT.FAILED_EXECUTION, _CAPTURED_FIRST)
        self._launched = True
        self._cuda.enqueue(stream_handle, partial(self._run_living, weakref.ref(self)))
        return True

    @staticmethod
    def _run_living(context: weakref.ref[IExecutionContext]) -> None:
        """What is on a stream or in a graph does not keep the context."""
        living = context()
        assert living is not None, "work of an execution context that is gone"
        living._run()

    def _run(self) -> None:
        ctypes.memset(self._scratch, 0xAB, SCRATCH_NBYTES)
        session = self.engine.session
        inputs = {name: self._array(name, shape) for name, shape in self._shapes.items()}
        for name, value in zip(
            (v.name for v in session.get_outputs()), session.run(None, inputs), strict=True
        ):
            self._array(name, value.shape)[...] = value

    def _array(self, name: str, shape: tuple[int, ...]) -> Any:
        dtype = self.engine.types[name]
        nbytes = int(np.prod(shape)) * dtype.itemsize
        block = (ctypes.c_char * nbytes).from_address(self._addresses[name])
        return np.ndarray(shape, dtype, memoryview(block))


__version__ = "11.4.0.106"


@contextmanager
def tensorrt_installed(cuda: FakeCuda) -> Iterator[None]:
    """`import tensorrt` gives this module, and ours that import it are imported anew."""
    before = {name: module for name, module in sys.modules.items() if _depends(name)}
    for name in before:
        del sys.modules[name]
    sys.modules["tensorrt"] = sys.modules[__name__]
    Runtime.cuda, Runtime.first_logger = cuda, None
    try:
        yield
    finally:
        for name in [name for name in sys.modules if _depends(name)]:
            del sys.modules[name]
        sys.modules.update(before)


def _depends(name: str) -> bool:
    ours = ("wan_trt.engine.tensorrt", "wan_trt.plan.tensorrt")
    return name == "tensorrt" or name.startswith(ours)


def plan_bytes(graph: Path, weights: dict[str, str], folder: Path, engine_nbytes: int = 0) -> bytes:
    """A plan of an ONNX file, its weights read from files of `folder`, whose engine takes so much
    memory."""
    model = onnx.load(graph, load_external_data=False)
    onnx.helper.set_model_props(model, {_ENGINE_NBYTES: str(engine_nbytes)})
    for tensor in model.graph.initializer:
        if tensor.name in weights:
            tensor.raw_data = (folder / weights[tensor.name]).read_bytes()
            tensor.data_location = onnx.TensorProto.DEFAULT
            del tensor.external_data[:]
    plan: bytes = model.SerializeToString()
    return plan
