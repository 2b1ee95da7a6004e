"""A GPU as a backend: all tensors of a job in its memory, each lane on a stream of its own."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from functools import cached_property
from typing import Any

from wan_trt.engine.backend import StepTensors
from wan_trt.engine.bundle import Bundle
from wan_trt.engine.cuda.driver import Device, Kernel
from wan_trt.engine.cuda.noise import DeviceNoise
from wan_trt.engine.cuda.nvrtc import PHILOX_NORMAL, SOLVER_UPDATE, KernelSource, load_kernel
from wan_trt.engine.cuda.philox import H100
from wan_trt.engine.cuda.served import RequireServed
from wan_trt.engine.cuda.space import CudaSpace
from wan_trt.engine.cuda.step import StepUpdate
from wan_trt.engine.executor import Executor
from wan_trt.engine.graph_run import GraphRun
from wan_trt.engine.lanes import APART, Lane
from wan_trt.engine.memory.arena import Arena
from wan_trt.engine.memory.cuda import CudaPages
from wan_trt.engine.memory.parking import Parking
from wan_trt.engine.memory.pinned import PinnedStore
from wan_trt.engine.memory.residency import RESERVE_NBYTES
from wan_trt.engine.memory.tensors import TensorMemory

LoadOnGpu = Callable[[Bundle, str, str, "CudaBackend"], Executor]
"""(bundle, graph, weight set, backend) -> executor on the backend's device, for the stream of the
graph's lane."""

LoadKernel = Callable[[Device, KernelSource], Kernel]


class CudaBackend:
    """A `Backend` on one NVIDIA GPU. It owns the device."""

    def __init__(
        self,
        device: Device,
        load: LoadOnGpu,
        load_kernel: LoadKernel = load_kernel,
        experts_nbytes: int | None = None,
        lanes: tuple[Lane, ...] = APART,
        pages_nbytes: int | None = None,
        require_served: RequireServed = lambda _runs: None,
    ) -> None:
        """`load` makes the executors; `experts_nbytes` is what there is for the weights of experts,
        None: enough; `lanes` is `APART` (a stream each) or `TOGETHER`. Tensors and the scratch of
        plans have `pages_nbytes` at most, None: all that is free now, as if weights took nothing.
        `require_served` refuses what no executor of `load` runs.

        Raises ResourceError where the GPU lacks what is needed, ExecutionError where kernels cannot
        be made; the device is then the caller's still."""
        self.device = device
        self.name = device.gpu.name
        self.experts_nbytes = experts_nbytes
        self.lanes = lanes
        self._load = load
        self._require_served = require_served
        self._noise = DeviceNoise(device, load_kernel(device, PHILOX_NORMAL))
        self._solver_update = load_kernel(device, SOLVER_UPDATE)
        self.resources = ExitStack()
        """Freed at the end, after all work: what executors have in common."""
        self._closed = False
        with ExitStack() as undo:
            spaces = [CudaSpace(device)]
            undo.callback(spaces[0].close)
            if lanes == APART:
                spaces.append(CudaSpace(device))
                undo.callback(spaces[1].close)
            self.spaces: Mapping[Lane, CudaSpace] = dict(
                zip(APART, (spaces[0], spaces[-1]), strict=True)
            )
            # Whoever gives pages back has waited: `Holding.close`, `Parking.give_back`.
            pages = CudaPages(device.bindings, device.ordinal, settle=lambda: None)
            if pages_nbytes is None:
                pages_nbytes = device.memory_info()[0] - RESERVE_NBYTES
            count = max(1, pages_nbytes // pages.page_nbytes)
            self.memory = TensorMemory(Arena(pages, count), spaces[-1])
            undo.pop_all()

    @cached_property
    def parking(self) -> Parking:
        """Made when it is first needed: pinned memory of the host, half of it at most."""
        most = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
        return Parking(self.memory.arena, PinnedStore(self.device), most)

    def require_served(self, runs: Iterable[GraphRun]) -> None:
        """See `Backend.require_served`."""
        self._require_served(runs)

    def load(self, bundle: Bundle, graph: str, weight_set: str) -> Executor:
        """See `Backend.load`. Pages that nobody uses make room for what is loaded, and then jobs
        that nobody works on."""
        with self.device.gate.loading():
            return self.memory.load_beside(lambda: self._load(bundle, graph, weight_set, self))

    def new_update(self, tensors: StepTensors[Any]) -> StepUpdate:
        return StepUpdate(self.device, self._solver_update, tensors)

    def draw_noise(self, seed: int, segment: int, out: Any) -> None:
        """See `Backend.draw_noise`. The same as on a CPU, to within `philox.TOLERANCE`."""
        block = segment * H100.blocks_of(math.prod(out.shape))
        self._noise.draw(out, seed, block, self.spaces[Lane.CODING].stream)

    def make_current(self) -> None:
        if not self._closed:
            self.device.make_current()

    def close(self) -> None:
        """Give everything back, the device too; a second time nothing happens."""
        if self._closed:
            return
        self._closed = True
        for space in self.spaces.values():
            space.wait()
        self.resources.close()
        if "parking" in vars(self):
            self.parking.close()
        self.memory.close()
        for space in dict.fromkeys(self.spaces.values()):
            space.close()
        self.device.close()
