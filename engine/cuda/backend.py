"""A GPU as a backend: all tensors of a job in its memory, everything on one stream."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property
from typing import Any

from wan_trt.engine.backend import StepTensors
from wan_trt.engine.bundle import Bundle
from wan_trt.engine.cuda.driver import Device, Kernel
from wan_trt.engine.cuda.noise import DeviceNoise
from wan_trt.engine.cuda.nvrtc import PHILOX_NORMAL, SOLVER_UPDATE, KernelSource, load_kernel
from wan_trt.engine.cuda.philox import H100
from wan_trt.engine.cuda.space import CudaSpace
from wan_trt.engine.cuda.step import StepUpdate
from wan_trt.engine.executor import Executor
from wan_trt.engine.memory.arena import Arena
from wan_trt.engine.memory.cuda import CudaPages
from wan_trt.engine.memory.parking import Parking
from wan_trt.engine.memory.pinned import PinnedStore
from wan_trt.engine.memory.residency import RESERVE_NBYTES
from wan_trt.engine.memory.tensors import TensorMemory

LoadOnGpu = Callable[[Bundle, str, str, "CudaBackend"], Executor]
"""(bundle, graph, weight set, backend) -> executor on the backend's device and stream."""

LoadKernel = Callable[[Device, KernelSource], Kernel]


class CudaBackend:
    """A `Backend` on one NVIDIA GPU. It owns the device."""

    def __init__(
        self,
        device: Device,
        load: LoadOnGpu,
        load_kernel: LoadKernel = load_kernel,
        experts_nbytes: int | None = None,
    ) -> None:
        """`load` makes the executors; `experts_nbytes` is what there is for the weights of experts,
        None: enough. Raises ResourceError where the GPU lacks what is needed,
        ExecutionError where kernels cannot be made; the device is then the caller's still."""
        self.device = device
        self.name = device.gpu.name
        self.experts_nbytes = experts_nbytes
        self._load = load
        self._noise = DeviceNoise(device, load_kernel(device, PHILOX_NORMAL))
        self._solver_update = load_kernel(device, SOLVER_UPDATE)
        self.resources = ExitStack()
        """Freed at the end, after all work: what executors have in common."""
        self._units: list[int] = []
        self._closed = False
        with ExitStack() as undo:
            self.space = CudaSpace(device)
            undo.callback(self.space.close)
            # Only work on this stream uses pages.
            pages = CudaPages(device.bindings, device.ordinal, settle=self.space.wait)
            free, _ = device.memory_info()
            count = max(1, (free - RESERVE_NBYTES) // pages.page_nbytes)
            self.memory = TensorMemory(Arena(pages, count), self.space)
            for _ in range(2):
                self._units.append(device.new_event())
                undo.callback(device.destroy_event, self._units[-1])
            undo.pop_all()

    @cached_property
    def parking(self) -> Parking:
        """Made when it is first needed: pinned memory of the host, half of it at most."""
        most = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
        return Parking(self.memory.arena, PinnedStore(self.device), most)

    def load(self, bundle: Bundle, graph: str, weight_set: str) -> Executor:
        """See `Backend.load`."""
        return self._load(bundle, graph, weight_set, self)

    def new_update(self, tensors: StepTensors[Any]) -> StepUpdate:
        return StepUpdate(self.device, self._solver_update, tensors)

    def draw_noise(self, seed: int, segment: int, out: Any) -> None:
        """See `Backend.draw_noise`. The same as on a CPU, to within `philox.TOLERANCE`."""
        block = segment * H100.blocks_of(math.prod(out.shape))
        self._noise.draw(out, seed, block, self.space.stream)

    def make_current(self) -> None:
        if not self._closed:
            self.device.make_current()

    def pace(self) -> None:
        self._units.reverse()
        self.device.record(self._units[0], self.space.stream)
        self.device.synchronize_event(self._units[1])

    def close(self) -> None:
        """Give everything back, the device too; a second time nothing happens."""
        if self._closed:
            return
        self._closed = True
        self.space.wait()
        self.resources.close()
        if "parking" in vars(self):
            self.parking.close()
        self.memory.close()
        self.space.close()
        for event in self._units:
            self.device.destroy_event(event)
        self.device.close()
