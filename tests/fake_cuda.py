# ruff: noqa: ARG002, N802
"""`cuda.bindings.driver` without a GPU, for `Device`: host memory, streams that run late, rules.

Work on a stream is done only when somebody waits for it, as late as the driver would allow: code
that reuses memory too early gives wrong results here. Calls that the driver refuses are refused,
above all during a capture.
"""

from __future__ import annotations

import ctypes
import threading
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from fake_streams import FakeStreams, Refused, driver_call
from host_kernels import HostKernel, load_host_kernel

ATTRIBUTES = {
    "COMPUTE_CAPABILITY_MAJOR": 9,
    "COMPUTE_CAPABILITY_MINOR": 0,
    "MULTIPROCESSOR_COUNT": 132,
    "MAX_THREADS_PER_MULTIPROCESSOR": 2048,
}


@dataclass
class Memcpy2D:
    """CUDA_MEMCPY2D, as far as it is used."""

    srcMemoryType: Any = None  # noqa: N815
    srcDevice: int = 0  # noqa: N815
    srcPitch: int = 0  # noqa: N815
    dstMemoryType: Any = None  # noqa: N815
    dstDevice: int = 0  # noqa: N815
    dstPitch: int = 0  # noqa: N815
    WidthInBytes: int = 0
    Height: int = 0


_ALIGNMENT = 256
Memory = dict[int, "ctypes.Array[ctypes.c_char]"]


class FakeCuda(FakeStreams):
    """A machine with `devices` GPUs of `nbytes` bytes."""

    CUdevice_attribute = IntEnum(  # type: ignore[misc]
        "CUdevice_attribute", [f"CU_DEVICE_ATTRIBUTE_{name}" for name in ATTRIBUTES]
    )
    CUmemorytype = IntEnum("CUmemorytype", {"CU_MEMORYTYPE_DEVICE": 2})
    CUDA_MEMCPY2D = Memcpy2D
    CU_MEMHOSTALLOC_PORTABLE, CU_MEMHOSTALLOC_DEVICEMAP = 1, 2

    def __init__(self, devices: int = 1, nbytes: int = 1 << 30) -> None:
        super().__init__()
        self.devices, self.nbytes = devices, nbytes
        self._memory: Memory = {}
        self._pinned: Memory = {}
        self._kernels: dict[int, HostKernel] = {}
        self._library_nbytes = 0

    @property
    def free_nbytes(self) -> int:
        """Of the GPU's memory, whoever took the rest."""
        return self.nbytes - self._library_nbytes - sum(map(len, self._memory.values()))

    def take(self, nbytes: int) -> None:
        """Memory that a library takes through the driver, as an engine does for its weights; only
        counted. Raises MemoryError where there is less."""
        with self.lock:
            if nbytes > self.free_nbytes:
                raise MemoryError(f"{nbytes} bytes are wanted, {self.free_nbytes} are free")
            self._library_nbytes += nbytes

    def give_back(self, nbytes: int) -> None:
        """What a library took."""
        with self.lock:
            self._library_nbytes -= nbytes

    @property
    def live(self) -> dict[str, int]:
        """How much of each kind has been made and not given back."""
        held: tuple[tuple[str, dict[int, Any]], ...] = (
            ("memory", self._memory),
            ("pinned", self._pinned),
            ("streams", self._streams),
            ("events", self._events),
            ("graphs", self._graphs),
            ("executables", self._executables),
        )
        live = {kind: len(things) for kind, things in held if things}
        return live | ({"bytes of libraries": self._library_nbytes} if self._library_nbytes else {})

    # Device and memory

    @driver_call
    def cuInit(self, flags: int) -> None:
        if not self.devices:
            raise Refused("CUDA_ERROR_NO_DEVICE")

    @driver_call
    def cuDeviceGet(self, ordinal: int) -> int:
        if ordinal >= self.devices:
            raise Refused("CUDA_ERROR_INVALID_VALUE")
        return ordinal

    @driver_call
    def cuDevicePrimaryCtxRetain(self, device: int) -> int:
        return 1

    @driver_call
    def cuDevicePrimaryCtxRelease(self, device: int) -> None:
        pass

    @driver_call
    def cuCtxSetCurrent(self, context: int) -> None:
        self.threads.add(threading.get_ident())

    @driver_call
    def cuDriverGetVersion(self) -> int:
        return 13000

    @driver_call
    def cuDeviceGetName(self, length: int, device: int) -> bytes:
        return b"Fake H100\0\0"

    @driver_call
    def cuDeviceGetAttribute(self, attribute: IntEnum, device: int) -> int:
        return ATTRIBUTES[attribute.name.removeprefix("CU_DEVICE_ATTRIBUTE_")]

    @driver_call
    def cuDeviceTotalMem(self, device: int) -> int:
        return self.nbytes

    @driver_call
    def cuMemGetInfo(self) -> tuple[int, int]:
        return self.free_nbytes, self.nbytes

    def _allocate(self, memory: Memory, nbytes: int) -> int:
        self._no_capture()
        if nbytes > (self.free_nbytes if memory is self._memory else self.nbytes):
            raise Refused("CUDA_ERROR_OUT_OF_MEMORY")
        # As on a GPU, new memory is aligned and holds anything.
        block = ctypes.create_string_buffer(b"\xff" * (nbytes + _ALIGNMENT), nbytes + _ALIGNMENT)
        address = -(-ctypes.addressof(block) // _ALIGNMENT) * _ALIGNMENT
        memory[address] = block
        return address

    def _free(self, memory: Memory, address: int) -> None:
        self._no_capture()
        self._get(memory, address)
        for stream in self._streams.values():  # freeing waits
            stream.run()
        del memory[address]

    @driver_call
    def cuMemAlloc(self, nbytes: int) -> int:
        return self._allocate(self._memory, nbytes)

    @driver_call
    def cuMemFree(self, address: int) -> None:
        self._free(self._memory, address)

    @driver_call
    def cuMemHostAlloc(self, nbytes: int, flags: int) -> int:
        return self._allocate(self._pinned, nbytes)

    @driver_call
    def cuMemFreeHost(self, address: int) -> None:
        self._free(self._pinned, address)

    def _copy(self, to: int, source: int, nbytes: int, stream: int) -> None:
        self._enqueue(stream, lambda: ctypes.memmove(to, source, nbytes))

    @driver_call
    def cuMemcpyHtoDAsync(self, to: int, source: int, nbytes: int, stream: int) -> None:
        self._copy(to, source, nbytes, stream)

    @driver_call
    def cuMemcpyDtoHAsync(self, to: int, source: int, nbytes: int, stream: int) -> None:
        self._copy(to, source, nbytes, stream)

    @driver_call
    def cuMemcpyDtoDAsync(self, to: int, source: int, nbytes: int, stream: int) -> None:
        self._copy(to, source, nbytes, stream)

    @driver_call
    def cuMemcpy2DAsync(self, copy: Any, stream: int) -> None:
        least = min(copy.srcPitch, copy.dstPitch)
        if least < copy.WidthInBytes or {copy.srcMemoryType, copy.dstMemoryType} != {2}:
            raise Refused("CUDA_ERROR_INVALID_VALUE")
        for row in range(copy.Height):
            to = int(copy.dstDevice) + row * copy.dstPitch
            self._copy(to, int(copy.srcDevice) + row * copy.srcPitch, copy.WidthInBytes, stream)

    @driver_call
    def cuMemsetD8Async(self, to: int, value: int, nbytes: int, stream: int) -> None:
        self._enqueue(stream, lambda: ctypes.memset(to, value, nbytes))

    # Kernels

    @driver_call
    def cuModuleLoadData(self, image: bytes) -> HostKernel:
        return load_host_kernel(image)

    @driver_call
    def cuModuleGetFunction(self, module: HostKernel, name: bytes) -> int:
        return self._add(self._kernels, module)

    @driver_call
    def cuLaunchKernel(self, function: int, *rest: int) -> None:
        blocks, _, _, threads, _, _, _, stream, pointers, _ = rest
        kernel: HostKernel = self._get(self._kernels, function)
        if not blocks or not 0 < threads <= 1024:
            raise Refused("CUDA_ERROR_INVALID_VALUE")
        table = (ctypes.c_void_p * len(kernel.argument_nbytes)).from_address(pointers)
        arguments = [
            ctypes.string_at(address or 0, nbytes)
            for address, nbytes in zip(table, kernel.argument_nbytes, strict=True)
        ]
        self._enqueue(stream, lambda: kernel(blocks, threads, arguments))
