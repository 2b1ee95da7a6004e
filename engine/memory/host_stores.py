"""Stores of a host for parked state: plain memory, or a file where memory is short."""

from __future__ import annotations

import ctypes
import mmap
import os
import tempfile
from pathlib import Path

from wan_trt.engine.errors import ExecutionError, ResourceError
from wan_trt.engine.memory.host import array_at
from wan_trt.engine.memory.parking import CHUNK_NBYTES


class _Immediate:
    """Copies are done when the call returns: there is nothing to wait for."""

    event: int | None = None

    def wait_for(self, event: int) -> None:
        raise ValueError(f"a host has no events, and so no event {event}")

    def finish(self) -> None:
        """All is done already."""

    def wait(self) -> None:
        """All is done already."""


class MemoryStore(_Immediate):
    """A `ParkingStore` in plain memory; a chunk gets its memory when it is first used."""

    def __init__(self, chunk_nbytes: int = CHUNK_NBYTES) -> None:
        self.chunk_nbytes = chunk_nbytes
        self._chunks: dict[int, mmap.mmap] = {}

    def save(self, chunk: int, address: int, nbytes: int) -> None:
        ctypes.memmove(self._address(chunk), address, nbytes)

    def load(self, chunk: int, address: int, nbytes: int) -> None:
        ctypes.memmove(address, self._address(chunk), nbytes)

    def close(self) -> None:
        self._chunks.clear()

    def _address(self, chunk: int) -> int:
        if chunk not in self._chunks:
            try:
                self._chunks[chunk] = mmap.mmap(-1, self.chunk_nbytes)
            except OSError as error:
                raise ResourceError(
                    f"no memory for a chunk of {self.chunk_nbytes} bytes ({error.strerror})",
                    action="park fewer jobs",
                ) from None
        return ctypes.addressof(ctypes.c_char.from_buffer(self._chunks[chunk]))


class FileStore(_Immediate):
    """A `ParkingStore` in a file without a name in `folder`: it goes with the process, whatever
    ends it."""

    def __init__(self, folder: Path, chunk_nbytes: int = CHUNK_NBYTES) -> None:
        self.chunk_nbytes = chunk_nbytes
        self._folder = folder
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed by close)

    def save(self, chunk: int, address: int, nbytes: int) -> None:
        source, done = array_at(address, (nbytes,), "uint8").data, 0
        try:
            while done < nbytes:
                at = chunk * self.chunk_nbytes + done
                done += os.pwrite(self._file.fileno(), source[done:], at)
        except OSError as error:
            raise ResourceError(
                f"parking {nbytes} bytes in {self._folder} failed ({error.strerror})",
                action="free space there, or park in another folder",
            ) from None

    def load(self, chunk: int, address: int, nbytes: int) -> None:
        target, done = array_at(address, (nbytes,), "uint8").data, 0
        try:
            while done < nbytes:
                at = chunk * self.chunk_nbytes + done
                read = os.preadv(self._file.fileno(), [target[done:]], at)
                assert read, "every chunk was saved before"
                done += read
        except OSError as error:
            raise ExecutionError(
                f"parked state in {self._folder} cannot be read ({error.strerror})",
                action="check that disk",
            ) from None

    def close(self) -> None:
        self._file.close()
