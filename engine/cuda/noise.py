"""Noise drawn on the device."""

from __future__ import annotations

from wan_trt.engine.cuda.device_tensor import DeviceTensor
from wan_trt.engine.cuda.driver import Device, Kernel
from wan_trt.engine.cuda.philox import H100, THREADS_PER_BLOCK, GpuThreads


class DeviceNoise:
    """The noise of `philox.normal`, made where it is used."""

    def __init__(self, device: Device, kernel: Kernel) -> None:
        """`kernel` is PHILOX_NORMAL, loaded."""
        self._device = device
        self._kernel = kernel

    def draw(
        self,
        tensor: DeviceTensor,
        seed: int,
        block: int,
        stream: int,
        threads: GpuThreads = H100,
    ) -> None:
        """Fill a float32 tensor with `normal(seed, block, tensor.shape, threads)`.

        `threads` are those of the GPU whose noise is wanted, whichever runs this.
        """
        stride = threads.of(tensor.elements)
        work = stride * threads.blocks_of(tensor.elements)
        arguments = (tensor.address, tensor.elements, seed, block, stride)
        self._device.launch(
            self._kernel, work // THREADS_PER_BLOCK, THREADS_PER_BLOCK, arguments, stream
        )
