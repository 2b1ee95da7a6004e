"""Run an engine once, to see whether it computes what it should: by the executor that serves it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import ExitStack

import numpy as np
import tensorrt as trt
from numpy.typing import NDArray

from wan_trt.engine.cuda.device_tensor import DeviceTensor, Staging
from wan_trt.engine.cuda.driver import Device
from wan_trt.engine.executor import GraphSpec, TensorSpec
from wan_trt.engine.tensorrt.executor import TensorRtExecutor
from wan_trt.engine.tensorrt.logger import Logger
from wan_trt.plan.parity import Arrays


class TrialMemory:
    """Memory for one run, allocated piece by piece."""

    def __init__(self, device: Device, resources: ExitStack) -> None:
        """`resources` gives everything back."""
        self._device = device
        self._resources = resources

    def tensor(self, shape: tuple[int, ...], dtype: str) -> DeviceTensor:
        nbytes = math.prod(shape) * np.dtype(dtype).itemsize
        return DeviceTensor(self.scratch(nbytes), shape, dtype)

    def scratch(self, nbytes: int) -> int:
        address = self._device.allocate(nbytes)
        self._resources.callback(self._device.free, address)
        return address

    def auxiliary_streams(self, count: int) -> list[int]:
        streams = [self._device.new_stream() for _ in range(count)]
        for stream in streams:
            self._resources.callback(self._device.destroy_stream, stream)
        return streams


def run(
    engine: trt.ICudaEngine,
    inputs: Arrays,
    outputs: Mapping[str, tuple[int, ...]],
    device: Device,
    logger: Logger,
) -> dict[str, NDArray[np.float32]]:
    """The float32 `outputs`, names and shapes, for `inputs`. Raises BundleError for an engine with
    other tensors, ResourceError or ExecutionError where a call fails."""
    spec = GraphSpec(
        inputs=tuple(TensorSpec(name, str(a.dtype), a.shape) for name, a in inputs.items()),
        outputs=tuple(TensorSpec(name, "float32", shape) for name, shape in outputs.items()),
    )
    with ExitStack() as resources:
        memory = TrialMemory(device, resources)
        executor = TensorRtExecutor("the plan", spec, lambda _sizes: engine, memory, logger)
        bindings = executor.bind(
            {},
            {
                tensor.name: memory.tensor(tensor.shape({}), tensor.dtype)
                for tensor in (*spec.inputs, *spec.outputs)
            },
        )
        stream = device.new_stream()
        resources.callback(device.destroy_stream, stream)
        staging = Staging(device)
        resources.callback(staging.close)
        for name, array in inputs.items():
            staging.upload(array, bindings.inputs[name], stream)
        executor.launch(bindings, stream)
        return {name: staging.download(bindings.outputs[name], stream) for name in outputs}
