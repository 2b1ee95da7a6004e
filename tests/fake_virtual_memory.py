# ruff: noqa: N802
"""The virtual memory calls of `cuda.bindings.driver` without a GPU, on top of `fake_cuda`.

Types and constants are those of the genuine bindings. A page of "device memory" is a part of an
anonymous file, mapped where the test says: what is written to a page is there again when it is
mapped elsewhere. The driver's rules are kept: memory is mapped inside reservations, never over a
mapping, and unmapped exactly as it was mapped; access is set over wholly mapped ranges; nothing
queued may use what is unmapped. What the driver refuses is refused, what it leaves undefined is an
AssertionError.
"""

from __future__ import annotations

import ctypes
import importlib
import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fake_cuda import ATTRIBUTES, FakeCuda
from fake_streams import Refused, driver_call

from wan_trt.engine.memory.host import HostPages

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_MAP_FIXED = 0x10
_READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE


@dataclass
class Mapping:
    handle: int
    nbytes: int
    accessible: bool = False


@dataclass(frozen=True)
class QueuedWork:
    """Stands in a stream's queue until it is run; it uses the (address, nbytes) of `ranges`."""

    cuda: FakeVirtualMemory
    ranges: tuple[tuple[int, int], ...]
    work: Callable[[], object]

    def __call__(self) -> None:
        for address, nbytes in self.ranges:
            self.cuda.require_usable(address, nbytes)
        self.work()

    def uses(self, address: int, nbytes: int) -> bool:
        return any(at < address + nbytes and address < at + size for at, size in self.ranges)


def fallible(function: Callable[..., Any]) -> Callable[..., Any]:
    """A driver call that `fail_at` can make fail."""
    succeed = driver_call(function)
    name = function.__name__

    def call(self: FakeVirtualMemory, *arguments: Any) -> tuple[Any, ...]:
        left, code = self.fail_at.get(name, (0, ""))
        self.fail_at[name] = max(0, left - 1), code
        return (self.CUresult[code],) if left == 1 else succeed(self, *arguments)

    call.__name__ = name
    return call


class FakeVirtualMemory(FakeCuda):
    """`fail_at` maps a call to (which one of those to come fails, counted from 1; its code)."""

    CUdevice_attribute: Any
    CUmemorytype: Any
    CUDA_MEMCPY2D: Any

    def __init__(self, total_nbytes: int = 64 << 20, granularity: int = 2 << 20) -> None:
        super().__init__(nbytes=total_nbytes)
        self._genuine = importlib.import_module("cuda.bindings.driver")
        for name in ("CUdevice_attribute", "CUmemorytype", "CUDA_MEMCPY2D"):
            setattr(self, name, getattr(self._genuine, name))
        self.granularity = granularity
        self.virtual_memory = True
        self.fail_at: dict[str, tuple[int, str]] = {}
        self._file = os.memfd_create("device")
        os.ftruncate(self._file, total_nbytes)
        self._free_parts = list(range(0, total_nbytes, granularity))[::-1]
        self._addresses = HostPages(granularity)
        self.reserved: dict[int, int] = {}
        self.handles: dict[int, tuple[int, ...]] = {}
        self.mappings: dict[int, Mapping] = {}

    @property
    def free_nbytes(self) -> int:
        """Pages lie in the same memory as all else."""
        pages = sum(len(parts) for parts in self.handles.values())
        return super().free_nbytes - pages * self.granularity

    def __getattr__(self, name: str) -> Any:
        """What is not made up is genuine; no function is."""
        genuine = getattr(object.__getattribute__(self, "_genuine"), name)
        if name.startswith("cu"):
            raise AttributeError(f"{name} is not made up")
        return genuine

    def require_usable(self, address: int, nbytes: int) -> None:
        """AssertionError for a range of device memory that is not mapped with access."""
        if any(at < address + nbytes and address < at + n for at, n in self.reserved.items()):
            inside = self._mapped_in(address, nbytes)
            assert sum(self.mappings[at].nbytes for at in inside) >= nbytes, "used, not mapped"
            assert all(self.mappings[at].accessible for at in inside), "used without access"

    def _copy(self, to: int, source: int, nbytes: int, stream: int) -> None:
        ranges = (to, nbytes), (source, nbytes)
        self._enqueue(stream, QueuedWork(self, ranges, lambda: ctypes.memmove(to, source, nbytes)))

    @driver_call
    def cuDeviceGetAttribute(self, attribute: Any, device: int) -> int:
        names = self._genuine.CUdevice_attribute
        if attribute == names.CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED:
            return int(self.virtual_memory)
        return ATTRIBUTES[attribute.name.removeprefix("CU_DEVICE_ATTRIBUTE_")] + device

    @driver_call
    def cuMemGetAllocationGranularity(self, properties: Any, option: Any) -> int:
        _require(properties.location.type == self.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE)
        _require("MINIMUM" in option.name)
        return self.granularity

    @fallible
    def cuMemAddressReserve(self, size: int, alignment: int, address: int, flags: int) -> int:
        _require(size > 0 and size % mmap.PAGESIZE == 0 and alignment & (alignment - 1) == 0)
        _require(address == flags == 0)
        start = self._addresses.reserve(size)
        self.reserved[start] = size
        return start

    @driver_call
    def cuMemAddressFree(self, address: int, size: int) -> None:
        _require(self.reserved.get(address) == size)
        assert not self._mapped_in(address, size), "addresses are freed while memory is mapped"
        self._addresses.release(address)
        del self.reserved[address]

    @fallible
    def cuMemCreate(self, size: int, properties: Any, flags: int) -> int:
        _require(size > 0 and size % self.granularity == 0 and flags == 0)
        _require(properties.type == self.CUmemAllocationType.CU_MEM_ALLOCATION_TYPE_PINNED)
        count = size // self.granularity
        if size > self.free_nbytes:
            raise Refused("CUDA_ERROR_OUT_OF_MEMORY")
        return self._add(self.handles, tuple(self._free_parts.pop() for _ in range(count)))

    @driver_call
    def cuMemRelease(self, handle: int) -> None:
        assert handle in self.handles, "what was released is released again"
        users = [at for at, mapping in self.mappings.items() if mapping.handle == handle]
        assert not users, "the memory would stay until it is unmapped"
        self._free_parts += self.handles.pop(handle)

    @fallible
    def cuMemMap(self, address: int, size: int, offset: int, handle: int, flags: int) -> None:
        _require(offset == flags == 0 and handle in self.handles)
        parts = self.handles[handle]
        _require(size == len(parts) * self.granularity and address % self.granularity == 0)
        _require(any(s <= address and address + size <= s + n for s, n in self.reserved.items()))
        _require(not self._mapped_in(address, size))
        shared = mmap.MAP_SHARED | _MAP_FIXED
        for at, part in zip(range(address, address + size, self.granularity), parts, strict=True):
            assert _libc.mmap(at, self.granularity, 0, shared, self._file, part) == at
        self.mappings[address] = Mapping(handle, size)

    @fallible
    def cuMemSetAccess(self, address: int, size: int, access: Any, count: int) -> None:
        _require(len(access) == count == 1 and int(access[0].flags) == 3)
        inside = self._mapped_in(address, size)
        _require(sum(self.mappings[at].nbytes for at in inside) == size)
        assert _libc.mprotect(address, size, _READ_WRITE) == 0
        for at in inside:
            self.mappings[at].accessible = True

    @driver_call
    def cuMemUnmap(self, address: int, size: int) -> None:
        mapping = self.mappings.get(address)
        _require(mapping is not None and mapping.nbytes == size)
        queued = (work for stream in self._streams.values() for work in stream.queue)
        known = [work for work in queued if isinstance(work, QueuedWork)]
        used = any(work.uses(address, size) for work in known)
        assert not used, "memory is unmapped that queued work uses"
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_FIXED
        assert _libc.mmap(address, size, 0, flags, -1, 0) == address
        del self.mappings[address]

    def _mapped_in(self, address: int, size: int) -> list[int]:
        return [
            at
            for at, mapping in self.mappings.items()
            if at < address + size and address < at + mapping.nbytes
        ]


def _require(condition: bool) -> None:
    if not condition:
        raise Refused("CUDA_ERROR_INVALID_VALUE")
