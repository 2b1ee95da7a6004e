"""What tests need of a device: kernels, tensors with values, and all of it given back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from host_kernels import compile_for_host
from numpy.typing import NDArray

from wan_trt.engine.cuda.device_tensor import DeviceTensor, Staging
from wan_trt.engine.cuda.driver import Device, Kernel
from wan_trt.engine.cuda.nvrtc import KernelSource, load_kernel


@dataclass
class DeviceSide:
    """A device with one stream. `host_folder` is where kernels are compiled for the CPU; None: on a
    GPU, by NVRTC."""

    device: Device
    host_folder: Path | None
    stream: int = field(init=False)

    def __post_init__(self) -> None:
        self.stream = self.device.new_stream()
        self._staging = Staging(self.device, slot_nbytes=1 << 16)
        self._owned: list[int] = []

    def load(self, source: KernelSource) -> Kernel:
        if self.host_folder is None:
            return load_kernel(self.device, source)
        image = compile_for_host(source, self.host_folder)
        return self.device.load_kernel(image, source.name, source.argument_types)

    def empty(self, *shape: int, dtype: str = "float32") -> DeviceTensor:
        tensor = DeviceTensor(0, shape, dtype)
        address = self.device.allocate(max(tensor.nbytes, 1))
        self._owned.append(address)
        return DeviceTensor(address, shape, dtype)

    def tensor(self, values: NDArray[Any]) -> DeviceTensor:
        tensor = self.empty(*values.shape, dtype=values.dtype.name)
        self.put(values, tensor)
        return tensor

    def put(self, values: NDArray[Any], tensor: DeviceTensor) -> None:
        self._staging.upload(np.asarray(values, tensor.dtype), tensor, self.stream)

    def get(self, tensor: DeviceTensor) -> NDArray[Any]:
        return self._staging.download(tensor, self.stream)

    def close(self) -> None:
        self.device.synchronize(self.stream)
        self._staging.close()
        for address in self._owned:
            self.device.free(address)
        self.device.destroy_stream(self.stream)
        self.device.close()
