"""Where memory can be: the host, a made-up CUDA driver, a real GPU. What holds for an arena holds
in all of them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from wan_trt.engine.cuda.driver import Device
from wan_trt.engine.memory.arena import Arena
from wan_trt.engine.memory.backend import PageBackend
from wan_trt.engine.memory.cuda import CudaPages
from wan_trt.engine.memory.host import HostPages
from wan_trt.engine.memory.host_stores import MemoryStore
from wan_trt.engine.memory.parking import ParkingStore
from wan_trt.engine.memory.pinned import PinnedStore


@dataclass
class Place:
    """Pages, and a way to what is in them. `page_nbytes` are the pages'."""

    backend: PageBackend
    device: Device | None = None

    @property
    def page_nbytes(self) -> int:
        return self.backend.page_nbytes

    def arena(self, pages: int) -> Arena:
        return Arena(self.backend, pages)

    def store(self, chunk_nbytes: int) -> ParkingStore:
        if self.device is None:
            return MemoryStore(chunk_nbytes)
        return PinnedStore(self.device, chunk_nbytes)

    def write(self, address: int, content: bytes) -> None:
        if self.device is None:
            ctypes.memmove(address, content, len(content))
        else:
            with self._staged(len(content)) as (host, stream):
                ctypes.memmove(host, content, len(content))
                self.device.copy_to_device(address, host, len(content), stream)
                self.device.synchronize(stream)

    def read(self, address: int, nbytes: int, after: int | None = None) -> bytes:
        """What is there; on a GPU once the event `after` is reached."""
        if self.device is None:
            return ctypes.string_at(address, nbytes)
        with self._staged(nbytes) as (host, stream):
            if after is not None:
                self.device.wait(stream, after)
            self.device.copy_to_host(host, address, nbytes, stream)
            self.device.synchronize(stream)
            return ctypes.string_at(host, nbytes)

    @contextmanager
    def _staged(self, nbytes: int) -> Iterator[tuple[int, int]]:
        """Pinned memory and a stream."""
        assert self.device is not None
        host, stream = self.device.allocate_pinned(nbytes), self.device.new_stream()
        yield host, stream
        self.device.destroy_stream(stream)
        self.device.free_pinned(host)


def on_the_host() -> Place:
    """Pages of 64 KiB."""
    return Place(HostPages(1 << 16))


def on_a_made_up_driver(settle: Callable[[], None] | None = None) -> Place:
    """Pages of 64 KiB as well; see fake_virtual_memory.py. `settle` as `CudaPages` has it."""
    pytest.importorskip("cuda.bindings.driver", reason="needs cuda-bindings (extra `cuda`)")
    from fake_virtual_memory import FakeVirtualMemory

    cuda = FakeVirtualMemory(granularity=1 << 16)
    pages = CudaPages(cuda, page_nbytes=1 << 16, settle=settle)
    return Place(pages, Device(bindings=cuda))


def on_a_gpu() -> Place:
    """Pages of 2 MiB."""
    from gpu import open_gpu

    cuda, device = open_gpu()
    return Place(CudaPages(cuda), device)


OpenPlace = Callable[[], Place]

PLACES = [
    pytest.param(on_the_host, id="host"),
    pytest.param(on_a_made_up_driver, id="made-up driver"),
    pytest.param(on_a_gpu, id="gpu", marks=pytest.mark.gpu),
]
