"""Run an engine once, to see whether it computes what it should."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

import numpy as np
import tensorrt as trt
from numpy.typing import NDArray

from wan_trt.engine.tensorrt.logger import Logger
from wan_trt.plan.parity import Arrays
from wan_trt.plan.tensorrt.device import Buffer, stream


def run(
    engine: trt.ICudaEngine,
    inputs: Arrays,
    outputs: Mapping[str, tuple[int, ...]],
    logger: Logger,
) -> dict[str, NDArray[np.float32]]:
    """The float32 `outputs`, names and shapes, for `inputs`. Raises ResourceError or
    ExecutionError."""
    action = "report this with what --keep keeps"
    context = engine.create_execution_context()
    if context is None:
        raise logger.failure("making an execution context", action)
    with ExitStack() as memory:
        made: dict[str, Buffer] = {}
        for name, array in inputs.items():
            made[name] = _buffer(memory, array.nbytes)
            made[name].write(np.ascontiguousarray(array))
            if not context.set_input_shape(name, trt.Dims(array.shape)):
                raise logger.failure(f"giving {name} the shape {list(array.shape)}", action)
        for name, shape in outputs.items():
            made[name] = _buffer(memory, np.zeros(shape, np.float32).nbytes)
        for name, buffer in made.items():
            if not context.set_tensor_address(name, buffer.address):
                raise logger.failure(f"giving {name} memory", action)
        with stream() as handle:
            if not context.execute_async_v3(handle):
                raise logger.failure("running the plan", action)
        return {name: made[name].read(shape, np.float32) for name, shape in outputs.items()}


def _buffer(memory: ExitStack, nbytes: int) -> Buffer:
    buffer = Buffer(nbytes)
    memory.callback(buffer.free)
    return buffer
