"""What only a real GPU can show: captured graphs over other pages, exhaustion, leaks.

The first is tried on a made-up driver too, which proves the test, not the GPU."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gpu import open_gpu

pytest.importorskip("cuda.bindings.driver", reason="needs cuda-bindings (extra `cuda`)")

from fake_virtual_memory import FakeVirtualMemory

from wan_trt.engine.cuda.driver import Device, Kernel
from wan_trt.engine.cuda.nvrtc import KernelSource, load_kernel
from wan_trt.engine.errors import ResourceError
from wan_trt.engine.memory.arena import Arena, Lease
from wan_trt.engine.memory.cuda import CudaPages
from wan_trt.engine.memory.host import array_at

PAGE = 2 << 20
COUNT = 2 * PAGE // 4
SLACK_NBYTES = 32 << 20  # what the driver may keep for itself

ADD = """
extern "C" __global__ void add(float *values, float amount, int count) {
    int index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index < count) values[index] += amount;
}
"""


@pytest.fixture
def gpu() -> tuple[Any, Device]:
    return open_gpu()


def adding(device: Device) -> Kernel:
    """The kernel, compiled for the GPU. Skips the test without NVRTC."""
    pytest.importorskip("cuda.core", reason="needs cuda-core and NVRTC (extra `cuda`)")
    types = (ctypes.c_void_p, ctypes.c_float, ctypes.c_int)
    return load_kernel(device, KernelSource("add", ADD, types, fused=True))


class Host:
    """Pinned memory to write to the GPU from, and to read it into: float32 [COUNT]."""

    def __init__(self, device: Device, stream: int) -> None:
        self._device, self._stream = device, stream
        self._address = device.allocate_pinned(4 * COUNT)
        self._values = array_at(self._address, (COUNT,), "float32")

    def write(self, address: int, values: np.ndarray[Any, Any]) -> None:
        self._values[:] = values
        self._device.copy_to_device(address, self._address, 4 * COUNT, self._stream)
        self._device.synchronize(self._stream)

    def read(self, address: int) -> np.ndarray[Any, Any]:
        self._device.copy_to_host(self._address, address, 4 * COUNT, self._stream)
        self._device.synchronize(self._stream)
        return self._values.copy()


def behind(lease: Lease, pages: CudaPages) -> set[int]:
    """The pages of a lease."""
    return {pages.committed()[lease.address + offset] for offset in range(0, lease.nbytes, PAGE)}


def remapped(arena: Arena, lease: Lease, pages: CudaPages) -> Lease:
    """The lease again at its address, over pages that are all others than before."""
    before = behind(lease, pages)
    arena.give_back(lease)
    detour = arena.reserve(f"detour-{lease.number}", lease.nbytes)
    blocked = arena.lease(detour, "other")
    again = arena.lease(lease.reservation, lease.holder)
    assert again.address == lease.address
    assert behind(again, pages).isdisjoint(before)
    arena.give_back(blocked)
    return again


def made_up() -> tuple[Any, Device]:
    cuda = FakeVirtualMemory()
    return cuda, Device(bindings=cuda)


@pytest.mark.parametrize(
    ("opened", "nodes"),
    [
        pytest.param(made_up, "copy and clear", id="made-up driver"),
        pytest.param(open_gpu, "copy and clear", marks=pytest.mark.gpu),
        pytest.param(open_gpu, "kernel", marks=pytest.mark.gpu),
    ],
)
def test_a_captured_graph_replays_over_other_pages(
    opened: Callable[[], tuple[Any, Device]], nodes: str
) -> None:
    cuda, device = opened()
    pages = CudaPages(cuda)
    arena = Arena(pages, pages=8)
    lease = arena.lease(arena.reserve("scratch", 2 * PAGE), "high")
    stream = device.new_stream()
    host = Host(device, stream)
    if nodes == "kernel":
        add = adding(device)

    def enqueue() -> None:
        if nodes == "kernel":
            device.launch(add, -(-COUNT // 256), 256, (lease.address, 1.5, COUNT), stream)
        else:  # the second half into the first, then zeros into the second
            device.copy_on_device(lease.address, lease.address + PAGE, PAGE, stream)
            device.clear(lease.address + PAGE, PAGE, stream)

    def expected(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if nodes == "kernel":
            return values + np.float32(1.5)
        half = COUNT // 2
        return np.concatenate([values[half:], np.zeros(half, np.float32)])

    enqueue()
    device.synchronize(stream)
    device.begin_capture(stream)
    enqueue()
    graph = device.end_capture(stream)
    executable = device.instantiate(graph)
    current = lease
    for turn in range(5):
        values = np.arange(COUNT, dtype=np.float32) + turn
        host.write(current.address, values)
        device.launch_graph(executable, stream)
        np.testing.assert_array_equal(host.read(current.address), expected(values))
        current = remapped(arena, current, pages)
    arena.check()
    device.destroy_executable(executable)
    device.destroy_graph(graph)
    arena.close()


@pytest.mark.gpu
def test_pages_are_not_taken_while_a_kernel_uses_them(gpu: tuple[Any, Device]) -> None:
    """Were they, the GPU would stop with an illegal address, or the sum be wrong."""
    cuda, device = gpu
    pages = CudaPages(cuda)
    arena = Arena(pages, pages=8)
    scratch = arena.reserve("scratch", 2 * PAGE)
    stream = device.new_stream()
    host = Host(device, stream)
    add = adding(device)
    lease = arena.lease(scratch, "high")
    host.write(lease.address, np.zeros(COUNT, np.float32))
    saved = device.allocate_pinned(4 * COUNT)
    for _ in range(1000):
        device.launch(add, -(-COUNT // 256), 256, (lease.address, 1.0, COUNT), stream)
    device.copy_to_host(saved, lease.address, 4 * COUNT, stream)
    arena.give_back(lease)
    np.testing.assert_array_equal(array_at(saved, (COUNT,), "float32"), 1000)
    arena.close()


@pytest.mark.gpu
def test_exhaustion_is_a_resource_error_and_everything_comes_back(gpu: tuple[Any, Device]) -> None:
    cuda, device = gpu
    before, total = device.memory_info()
    large = 1 << 30
    pages = CudaPages(cuda, page_nbytes=large)
    arena = Arena(pages, pages=2 * total // large)
    everything = arena.reserve("everything", 2 * total)
    with pytest.raises(ResourceError, match="no GPU memory"):
        arena.lease(everything, "job")
    arena.check()
    assert device.memory_info()[0] >= before - SLACK_NBYTES, "what was made on the way is free"
    with arena.leased(everything, "job", nbytes=large):
        assert device.memory_info()[0] <= before - large
    arena.close()
    assert device.memory_info()[0] >= before - SLACK_NBYTES


@pytest.mark.gpu
def test_a_thousand_turns_leak_nothing(gpu: tuple[Any, Device]) -> None:
    cuda, device = gpu
    before, _ = device.memory_info()
    arena = Arena(CudaPages(cuda), pages=64)
    first, second = (arena.reserve(name, 64 * PAGE) for name in ("first", "second"))
    arena.give_back(arena.lease(first, "warm-up"))
    used, _ = device.memory_info()
    for turn in range(1000):
        reservation = (first, second)[turn % 2]
        arena.give_back(arena.lease(reservation, f"holder-{turn}", nbytes=(1 + turn % 64) * PAGE))
        if turn % 100 == 0:
            arena.trim()
    arena.check()
    assert device.memory_info()[0] >= used - SLACK_NBYTES
    arena.close()
    assert device.memory_info()[0] >= before - SLACK_NBYTES
