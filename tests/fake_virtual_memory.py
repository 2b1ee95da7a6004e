"""A CUDA driver for machines without one, as far as memory goes.

Types and constants are those of the genuine `cuda.bindings.driver`; only the functions are made up,
and they are called with as many arguments as the genuine ones take. "Device memory" is real: a page
is a part of an anonymous file, mapped where the test says, so what is written to a page is there
again when it is mapped elsewhere. The driver's rules are kept:

* memory is mapped inside reservations only, page by page, never over a mapping;
* what is mapped cannot be used before access is set, over a wholly mapped range;
* what is unmapped is exactly what was mapped; nothing queued may use it any more;
* copies are queued, and done when somebody waits for them, not before.

What the driver answers with an error code gets that code; what it leaves undefined is an
AssertionError.
"""

# ruff: noqa: ARG002, N802 (the driver's signatures and names)

from __future__ import annotations

import ctypes
import importlib
import mmap
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import Any

from wan_trt.engine.memory.host import HostPages

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_MAP_FIXED, _SHARED = 0x10, mmap.MAP_SHARED
_READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE


@dataclass
class _Mapping:
    handle: int
    nbytes: int
    accessible: bool = False


@dataclass
class _Work:
    """Something queued on a stream: a copy, the record of an event, or the wait for one."""

    run: Callable[[], None]
    device: range = field(default_factory=lambda: range(0))
    done: bool = False


class FakeCuda:
    """Stands in for the module `cuda.bindings.driver`."""

    def __init__(self, total_nbytes: int = 64 << 20, granularity: int = 2 << 20) -> None:
        self._genuine = importlib.import_module("cuda.bindings.driver")
        self.total_nbytes, self.granularity = total_nbytes, granularity
        self.virtual_memory = True
        self.calls: list[str] = []
        self.fail_at: dict[str, tuple[int, str]] = {}
        """Function -> (its how manieth call from now on, counted from 1, fails; with this code)."""
        self._file = os.memfd_create("device")
        os.ftruncate(self._file, total_nbytes)
        self._free = list(range(0, total_nbytes, granularity))[::-1]
        self._addresses = HostPages(granularity)
        self.reserved: dict[int, int] = {}
        self.handles: dict[int, tuple[int, ...]] = {}
        self.mappings: dict[int, _Mapping] = {}
        self.pinned: dict[int, mmap.mmap] = {}
        self._streams: dict[int, list[_Work]] = {}
        self._events: dict[int, _Work | None] = {}
        self._next = 1

    def __getattr__(self, name: str) -> Any:
        """Functions of ours under their rules, everything else as the genuine module has it."""
        genuine = getattr(self._genuine, name)
        if not callable(genuine) or not name.startswith("cu"):
            return genuine
        function = object.__getattribute__(self, f"_{name}")
        parameters = _parameters(genuine.__doc__)

        @wraps(genuine)
        def call(*arguments: Any) -> tuple[Any, ...]:
            assert len(arguments) == parameters, f"{name} takes {parameters} arguments"
            self.calls.append(name)
            if name in self.fail_at:
                left, code = self.fail_at.pop(name)
                if left == 1:
                    return (getattr(self._genuine.CUresult, code),)
                self.fail_at[name] = left - 1, code
            try:
                value = function(*arguments)
            except _DriverError as error:
                return (getattr(self._genuine.CUresult, f"CUDA_ERROR_{error}"),)
            status = self._genuine.CUresult.CUDA_SUCCESS
            return (status, *value) if isinstance(value, tuple) else (status, value)

        return call

    # The device and its context

    def _cuInit(self, flags: int) -> tuple[()]:
        return ()

    def _cuDeviceGet(self, ordinal: int) -> int:
        return ordinal

    def _cuDevicePrimaryCtxRetain(self, device: int) -> int:
        return 1

    def _cuCtxSetCurrent(self, context: int) -> tuple[()]:
        return ()

    def _cuDeviceGetName(self, length: int, device: int) -> bytes:
        return b"no GPU\0"

    def _cuDeviceTotalMem(self, device: int) -> int:
        return self.total_nbytes

    def _cuDeviceGetAttribute(self, kind: Any, device: int) -> int:
        names = self.CUdevice_attribute
        asked = names.CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED
        return int(self.virtual_memory) if kind == asked else 1

    def _cuMemGetInfo(self) -> tuple[int, int]:
        return len(self._free) * self.granularity, self.total_nbytes

    def _cuCtxSynchronize(self) -> tuple[()]:
        for stream in self._streams:
            self._run(stream)
        return ()

    # Virtual memory

    def _cuMemGetAllocationGranularity(self, properties: Any, option: Any) -> int:
        _require(properties.location.type == self.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE)
        return self.granularity

    def _cuMemAddressReserve(self, size: int, alignment: int, address: int, flags: int) -> Any:
        _require(size > 0 and size % mmap.PAGESIZE == 0 and alignment & (alignment - 1) == 0)
        _require(flags == 0)
        start = self._addresses.reserve(size)
        self.reserved[start] = size
        return self.CUdeviceptr(start)

    def _cuMemAddressFree(self, address: int, size: int) -> tuple[()]:
        _require(self.reserved.get(address) == size)
        assert not self._mapped_in(address, size), "addresses are freed while memory is mapped"
        self._addresses.release(address)
        del self.reserved[address]
        return ()

    def _cuMemCreate(self, size: int, properties: Any, flags: int) -> Any:
        _require(size > 0 and size % self.granularity == 0 and flags == 0)
        _require(properties.type == self.CUmemAllocationType.CU_MEM_ALLOCATION_TYPE_PINNED)
        count = size // self.granularity
        if count > len(self._free):
            raise _DriverError("OUT_OF_MEMORY")
        handle = self._number()
        self.handles[handle] = tuple(self._free.pop() for _ in range(count))
        return self.CUmemGenericAllocationHandle(handle)

    def _cuMemRelease(self, handle: Any) -> tuple[()]:
        assert int(handle) in self.handles, "what was released is released again"
        users = [at for at, mapping in self.mappings.items() if mapping.handle == int(handle)]
        assert not users, "the memory would stay until it is unmapped"
        self._free += self.handles.pop(int(handle))
        return ()

    def _cuMemMap(self, address: int, size: int, offset: int, handle: Any, flags: int) -> tuple[()]:
        _require(offset == 0 and flags == 0 and int(handle) in self.handles)
        parts = self.handles[int(handle)]
        _require(size == len(parts) * self.granularity and address % self.granularity == 0)
        _require(any(s <= address and address + size <= s + n for s, n in self.reserved.items()))
        _require(not self._mapped_in(address, size))
        for index, part in enumerate(parts):
            at = address + index * self.granularity
            mapped = _libc.mmap(at, self.granularity, 0, _SHARED | _MAP_FIXED, self._file, part)
            assert mapped == at
        self.mappings[address] = _Mapping(int(handle), size)
        return ()

    def _cuMemSetAccess(self, address: int, size: int, access: Any, count: int) -> tuple[()]:
        _require(len(access) == count == 1 and int(access[0].flags) == 3)
        inside = self._mapped_in(address, size)
        _require(sum(self.mappings[at].nbytes for at in inside) == size)
        assert _libc.mprotect(address, size, _READ_WRITE) == 0
        for at in inside:
            self.mappings[at].accessible = True
        return ()

    def _cuMemUnmap(self, address: int, size: int) -> tuple[()]:
        mapping = self.mappings.get(address)
        _require(mapping is not None and mapping.nbytes == size)
        for queue in self._streams.values():
            for work in queue:
                used = range(max(work.device.start, address), min(work.device.stop, address + size))
                assert work.done or not used, "memory is unmapped that queued work uses"
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_FIXED
        assert _libc.mmap(address, size, 0, flags, -1, 0) == address
        del self.mappings[address]
        return ()

    # Pinned memory, streams, events

    def _cuMemHostAlloc(self, nbytes: int, flags: int) -> int:
        memory = mmap.mmap(-1, nbytes)
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        self.pinned[address] = memory
        return address

    def _cuMemFreeHost(self, address: int) -> tuple[()]:
        _require(address in self.pinned)
        del self.pinned[address]
        return ()

    def _cuStreamCreateWithPriority(self, flags: int, priority: int) -> int:
        stream = self._number()
        self._streams[stream] = []
        return stream

    def _cuStreamDestroy(self, stream: int) -> tuple[()]:
        self._run(stream)
        del self._streams[stream]
        return ()

    def _cuStreamSynchronize(self, stream: int) -> tuple[()]:
        self._run(stream)
        return ()

    def _cuMemcpyDtoHAsync(self, host: int, address: int, nbytes: int, stream: int) -> tuple[()]:
        return self._copy(stream, host, address, nbytes, range(address, address + nbytes))

    def _cuMemcpyHtoDAsync(self, address: int, host: int, nbytes: int, stream: int) -> tuple[()]:
        return self._copy(stream, address, host, nbytes, range(address, address + nbytes))

    def _cuEventCreate(self, flags: int) -> int:
        event = self._number()
        self._events[event] = None
        return event

    def _cuEventDestroy(self, event: int) -> tuple[()]:
        del self._events[event]
        return ()

    def _cuEventRecord(self, event: int, stream: int) -> tuple[()]:
        work = _Work(lambda: None)
        self._streams[stream].append(work)
        self._events[event] = work
        return ()

    def _cuEventSynchronize(self, event: int) -> tuple[()]:
        self._reach(self._events[event])
        return ()

    def _cuStreamWaitEvent(self, stream: int, event: int, flags: int) -> tuple[()]:
        self._streams[stream].append(_Work(partial(self._reach, self._events[event])))
        return ()

    def _copy(self, stream: int, to: int, source: int, nbytes: int, device: range) -> tuple[()]:
        def run() -> None:
            inside = self._mapped_in(device.start, len(device))
            covered = sum(self.mappings[at].nbytes for at in inside)
            assert covered >= nbytes, "a copy reads or writes what is not mapped"
            assert all(self.mappings[at].accessible for at in inside), "no access was set"
            ctypes.memmove(to, source, nbytes)

        self._streams[stream].append(_Work(run, device))
        return ()

    def _reach(self, work: _Work | None) -> None:
        """Run the stream that has `work` up to there."""
        for stream, queue in self._streams.items():
            if any(queued is work for queued in queue):
                self._run(stream, work)

    def _run(self, stream: int, until: _Work | None = None) -> None:
        queue = self._streams[stream]
        while queue and not (until is not None and until.done):
            work = queue.pop(0)
            work.run()
            work.done = True

    def _mapped_in(self, address: int, size: int) -> list[int]:
        return [
            at
            for at, mapping in self.mappings.items()
            if at < address + size and address < at + mapping.nbytes
        ]

    def _number(self) -> int:
        self._next += 1
        return self._next


class _DriverError(Exception):
    """The rest of a result code's name."""


def _require(condition: bool) -> None:
    if not condition:
        raise _DriverError("INVALID_VALUE")


def _parameters(documentation: str) -> int:
    """How many parameters a function takes, by the first line of its documentation: the genuine
    functions are compiled and tell it nowhere else."""
    inside = re.sub(r"\[[^\[\]]*\]", "", documentation.splitlines()[0])
    inside = re.sub(r"\[[^\[\]]*\]", "", inside).partition("(")[2].rpartition(")")[0]
    return len(inside.split(",")) if inside.strip() else 0
