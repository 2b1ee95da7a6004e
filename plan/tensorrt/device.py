"""CUDA calls, and memory on the GPU for a trial run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from cuda.bindings import runtime
from numpy.typing import NDArray

from wan_trt.engine.errors import ExecutionError, ResourceError


class Buffer:
    """Device memory of one array."""

    def __init__(self, nbytes: int) -> None:
        self.address: int = call(runtime.cudaMalloc, nbytes)
        self._nbytes = nbytes

    def write(self, array: NDArray[Any]) -> None:
        kind = runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        call(runtime.cudaMemcpy, self.address, array.ctypes.data, self._nbytes, kind)

    def read(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        array = np.empty(shape, dtype)
        kind = runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        call(runtime.cudaMemcpy, array.ctypes.data, self.address, self._nbytes, kind)
        return array

    def free(self) -> None:
        call(runtime.cudaFree, self.address)


@contextmanager
def stream() -> Iterator[int]:
    """A stream of its own; what runs on it has ended when the block ends."""
    handle = call(runtime.cudaStreamCreate)
    try:
        yield int(handle)
        call(runtime.cudaStreamSynchronize, handle)
    finally:
        call(runtime.cudaStreamDestroy, handle)


def call(function: Any, *arguments: Any) -> Any:
    """The value of a CUDA call. Raises ResourceError or ExecutionError with CUDA's name for it."""
    status, *values = function(*arguments)
    if status != runtime.cudaError_t.cudaSuccess:
        doing = f"{function.__name__}: {status.name}"
        if status in (
            runtime.cudaError_t.cudaErrorMemoryAllocation,
            runtime.cudaError_t.cudaErrorNoDevice,
            runtime.cudaError_t.cudaErrorInsufficientDriver,
        ):
            raise ResourceError(doing, action="use a machine with a free NVIDIA GPU")
        raise ExecutionError(doing, action="report this")
    return values[0] if values else None
