"""Pages of a host: anonymous mappings that are made accessible and replaced.

A range is mapped without access and without memory. To commit is to allow access; the kernel gives
zeroed memory at the first touch. To decommit is to map the range anew over itself: the memory goes
back to the system at once, and whoever touches it before it is committed again is stopped by the
processor instead of reading what belongs to others.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import mmap
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from wan_trt.engine.errors import ExecutionError, ResourceError
from wan_trt.engine.memory.pages import PAGE_NBYTES

_PROT_NONE = 0
_MAP_FIXED = 0x10
_WITHOUT_MEMORY = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
_MAP_FAILED = ctypes.c_void_p(-1).value


@functools.cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    pointer, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    libc.mmap.argtypes = [pointer, size, number, number, number, ctypes.c_long]
    libc.mmap.restype = pointer
    libc.munmap.argtypes = [pointer, size]
    libc.mprotect.argtypes = [pointer, size, number]
    return libc


def array_at(address: int, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """The tensor at an address, not copied: valid while its pages are committed."""
    kind = np.dtype(dtype)
    nbytes = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    memory = (ctypes.c_char * nbytes).from_address(address)
    return np.frombuffer(memoryview(memory), kind).reshape(shape)


class HostPages:
    """A `PageBackend` over mmap. What is committed reads as zeros."""

    def __init__(self, page_nbytes: int = PAGE_NBYTES) -> None:
        """Raises ValueError unless `page_nbytes` is a multiple of the system's page."""
        if page_nbytes <= 0 or page_nbytes % mmap.PAGESIZE:
            raise ValueError(f"a page of {page_nbytes} bytes is no multiple of {mmap.PAGESIZE}")
        self.page_nbytes = page_nbytes
        self._ranges: dict[int, int] = {}
        self._committed: dict[int, int] = {}

    def reserve(self, nbytes: int) -> int:
        """See `PageBackend.reserve`; the address is a multiple of the page."""
        room = nbytes + self.page_nbytes - mmap.PAGESIZE
        start = _map(None, room)
        address = -(-start // self.page_nbytes) * self.page_nbytes
        # What alignment left over, before and behind.
        if address > start:
            _unmap(start, address - start)
        if address + nbytes < start + room:
            _unmap(address + nbytes, start + room - address - nbytes)
        self._ranges[address] = nbytes
        return address

    def release(self, address: int) -> None:
        _unmap(address, self._ranges[address])
        del self._ranges[address]

    def commit(self, address: int, pages: Sequence[int]) -> None:
        nbytes = len(pages) * self.page_nbytes
        if _libc().mprotect(address, nbytes, mmap.PROT_READ | mmap.PROT_WRITE):
            error = _error(f"committing {nbytes} bytes")
            _map(address, nbytes)  # a part of it may have become accessible
            raise error
        self._committed.update(self._addressed(address, pages))

    def decommit(self, address: int, count: int) -> None:
        _map(address, count * self.page_nbytes)
        for index in range(count):
            del self._committed[address + index * self.page_nbytes]

    def committed(self) -> Mapping[int, int]:
        return self._committed

    def trim(self) -> int:
        """Nothing: what is decommitted is the system's already."""
        return 0

    def close(self) -> None:
        self._committed.clear()
        for address in list(self._ranges):
            self.release(address)

    def _addressed(self, address: int, pages: Sequence[int]) -> dict[int, int]:
        return {address + index * self.page_nbytes: page for index, page in enumerate(pages)}


def _map(address: int | None, nbytes: int) -> int:
    """Map a range without access and memory; over what is at `address`, None: anywhere."""
    fixed = 0 if address is None else _MAP_FIXED
    start = _libc().mmap(address, nbytes, _PROT_NONE, _WITHOUT_MEMORY | fixed, -1, 0)
    if start == _MAP_FAILED:
        raise _error(f"reserving {nbytes} bytes of addresses")
    return int(start)


def _unmap(address: int, nbytes: int) -> None:
    if _libc().munmap(address, nbytes):
        raise _error(f"releasing {nbytes} bytes of addresses")


def _error(doing: str) -> ResourceError | ExecutionError:
    """What the system last said, as one of our errors."""
    code = ctypes.get_errno()
    given = f"{doing} failed ({os.strerror(code)})"
    if code in (errno.ENOMEM, errno.EAGAIN):
        return ResourceError(given, action="use a smaller size, or a machine with more memory")
    return ExecutionError(given, action="report this with the request")
