"""A plan behind the contract of `engine/executor.py`.

An engine has static shapes, so a graph has one for each size; `bind` picks it. Each binding has an
execution context of its own, with its addresses set once, so that a launch is one call and can be
captured. Contexts of executors that never run at the same time use the same scratch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import tensorrt as trt

from wan_trt.engine.binding import bound_tensors
from wan_trt.engine.cuda.device_tensor import DeviceTensor
from wan_trt.engine.errors import BundleError
from wan_trt.engine.executor import Bindings, GraphSpec
from wan_trt.engine.tensorrt.logger import Logger

EngineFor = Callable[[Mapping[str, int]], trt.ICudaEngine]
"""The engine that serves these values of a graph's symbols. Raises BundleError."""

_ACTION = "build the plan again with `wan-trt build`, or report this with the request"


class Memory(Protocol):
    """Where contexts' scratch lies."""

    def scratch(self, nbytes: int) -> int:
        """Address of at least `nbytes` bytes that hold nothing between two launches, the same for
        all that ask, 256-byte aligned. Raises ResourceError without room."""
        ...

    def auxiliary_streams(self, count: int) -> list[int]:
        """Streams beside the one of a launch, the same for all that ask."""
        ...


class TensorRtBindings:
    """Tensors of one size, and the context that reads and writes them."""

    def __init__(
        self,
        context: trt.IExecutionContext,
        inputs: dict[str, DeviceTensor],
        outputs: dict[str, DeviceTensor],
    ) -> None:
        self.inputs: Mapping[str, DeviceTensor] = inputs
        self.outputs: Mapping[str, DeviceTensor] = outputs
        self.context = context


class TensorRtExecutor:
    """One graph with one set of weights."""

    def __init__(
        self, name: str, spec: GraphSpec, engine_for: EngineFor, memory: Memory, logger: Logger
    ) -> None:
        """`name` is the graph's, for messages; `logger` that of the engines' runtime."""
        self.spec = spec
        self._name = name
        self._engine_for: EngineFor | None = engine_for
        self._memory = memory
        self._logger = logger

    def bind(
        self, sizes: Mapping[str, int], tensors: Mapping[str, DeviceTensor] | None = None
    ) -> TensorRtBindings:
        """See `Executor.bind`; all tensors are given. Raises BundleError where no plan serves the
        sizes or the plan is of another graph, else what a call that fails does."""
        engine = self._open()(sizes)
        self._check_interface(engine)
        inputs, outputs = bound_tensors(self._name, self.spec, sizes, tensors)
        return TensorRtBindings(self._context(engine, inputs, outputs), inputs, outputs)

    def launch(self, bindings: Bindings, stream: int | None = None) -> None:
        """Enqueue the graph; nothing waits. Raises ExecutionError or ResourceError."""
        if not stream or not isinstance(bindings, TensorRtBindings):
            raise ValueError("a TensorRT executor launches its own bindings on a stream of its own")
        self._open()
        self._logger.begin()
        if not bindings.context.execute_async_v3(stream):
            raise self._logger.failure(f"running {self._name}", _ACTION)

    def close(self) -> None:
        """Let go of the engines. Bindings must not be launched any more."""
        self._engine_for = None

    def _open(self) -> EngineFor:
        if self._engine_for is None:
            raise ValueError(f"the executor of {self._name} is closed")
        return self._engine_for

    def _check_interface(self, engine: trt.ICudaEngine) -> None:
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        for kind, mode, specs in (
            ("inputs", trt.TensorIOMode.INPUT, self.spec.inputs),
            ("outputs", trt.TensorIOMode.OUTPUT, self.spec.outputs),
        ):
            found = sorted(name for name in names if engine.get_tensor_mode(name) == mode)
            if found != sorted(spec.name for spec in specs):
                raise BundleError(
                    f"the plan of {self._name} has {kind} {found}",
                    expected=f"{[spec.name for spec in specs]} as the manifest says",
                    action="build the plan again with `wan-trt build`",
                )

    def _context(
        self,
        engine: trt.ICudaEngine,
        inputs: Mapping[str, DeviceTensor],
        outputs: Mapping[str, DeviceTensor],
    ) -> trt.IExecutionContext:
        self._logger.begin()
        context = engine.create_execution_context(
            trt.ExecutionContextAllocationStrategy.USER_MANAGED
        )
        if context is None:
            raise self._logger.failure(f"making an execution context of {self._name}", _ACTION)
        # Plans are built with all details, for the inspector; told again at each launch they cost.
        context.nvtx_verbosity = trt.ProfilingVerbosity.LAYER_NAMES_ONLY
        for name, tensor in inputs.items():
            if not context.set_input_shape(name, tensor.shape):
                raise self._refused(f"the shape {list(tensor.shape)}", name)
        if unknown := context.infer_shapes():
            raise self._refused("a shape that follows from the inputs", ", ".join(unknown))
        for name, tensor in (*inputs.items(), *outputs.items()):
            if not context.set_tensor_address(name, tensor.address):
                raise self._refused("memory", name)
        # What the shapes at hand need may be less, but so much must be given, says the API.
        if nbytes := engine.device_memory_size_v2:
            context.set_device_memory(self._memory.scratch(nbytes), nbytes)
        if engine.num_aux_streams:
            context.set_aux_streams(self._memory.auxiliary_streams(engine.num_aux_streams))
        return context

    def _refused(self, what: str, tensors: str) -> Exception:
        return self._logger.failure(f"giving {tensors} of {self._name} {what}", _ACTION)
