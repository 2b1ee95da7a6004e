"""The calls of the CUDA driver that the runtime makes, every result code checked.

Handles (streams, events, graphs, kernels) and addresses are plain integers. A call that fails
raises ResourceError where another machine, or this one later, could do it (no GPU, no memory), and
ExecutionError otherwise. Most errors of kernels arrive with a later call: the message names the
call that reported one.

Source: CUDA driver API; cuda.bindings.driver of cuda-python 13.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from wan_trt.engine.cuda.capture_gate import CaptureGate
from wan_trt.engine.cuda.result_codes import checked
from wan_trt.engine.errors import ResourceError


def load_bindings() -> Any:
    """`cuda.bindings.driver`. Raises ResourceError where it is not installed."""
    try:
        return importlib.import_module("cuda.bindings.driver")
    except ImportError:
        raise ResourceError(
            "the Python package cuda-bindings is not installed",
            expected="it, to run on a GPU",
            action="pip install 'wan-trt[cuda]'",
        ) from None


@dataclass(frozen=True)
class Gpu:
    """What a GPU is, as far as kernels depend on it. `compute_capability` 9.0 is (9, 0)."""

    name: str
    compute_capability: tuple[int, int]
    multiprocessors: int
    threads_per_multiprocessor: int
    total_nbytes: int


@dataclass(frozen=True)
class Kernel:
    """A loaded kernel and the types of its arguments; `launch` takes their values."""

    name: str
    handle: int
    argument_types: tuple[Any, ...]


class Device:
    """One GPU through its primary context, the one that torch and ONNX Runtime use as well.

    The context is current on the thread that made the device; `make_current` on others.
    """

    def __init__(self, ordinal: int = 0, bindings: Any = None) -> None:
        """Raises ResourceError where there is no driver or no GPU of that number."""
        self._cuda = load_bindings() if bindings is None else bindings
        try:
            self._call(self._cuda.cuInit, 0)
        except RuntimeError as error:  # cuda.bindings found no libcuda.so.1
            raise ResourceError(
                f"no NVIDIA driver: {error}", action="run this on a machine with an NVIDIA GPU"
            ) from None
        self.ordinal = ordinal
        self._device = self._call(self._cuda.cuDeviceGet, ordinal)
        self._context = self._call(self._cuda.cuDevicePrimaryCtxRetain, self._device)
        self.make_current()
        self.gpu = self._describe()
        self.gate = CaptureGate()

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return checked(self._cuda, function, *arguments)

    def _describe(self) -> Gpu:
        names = self._cuda.CUdevice_attribute

        def attribute(name: str) -> int:
            kind = getattr(names, f"CU_DEVICE_ATTRIBUTE_{name}")
            return int(self._call(self._cuda.cuDeviceGetAttribute, kind, self._device))

        name = self._call(self._cuda.cuDeviceGetName, 256, self._device)
        return Gpu(
            name=bytes(name).split(b"\0")[0].decode(),
            compute_capability=(
                attribute("COMPUTE_CAPABILITY_MAJOR"),
                attribute("COMPUTE_CAPABILITY_MINOR"),
            ),
            multiprocessors=attribute("MULTIPROCESSOR_COUNT"),
            threads_per_multiprocessor=attribute("MAX_THREADS_PER_MULTIPROCESSOR"),
            total_nbytes=int(self._call(self._cuda.cuDeviceTotalMem, self._device)),
        )

    @property
    def bindings(self) -> Any:
        """`cuda.bindings.driver`, for calls that are not made here."""
        return self._cuda

    def make_current(self) -> None:
        """Let this thread use the device."""
        self._call(self._cuda.cuCtxSetCurrent, self._context)

    def close(self) -> None:
        """Give the context back. What was made through the device must be gone."""
        self._call(self._cuda.cuDevicePrimaryCtxRelease, self._device)

    @property
    def cuda_version(self) -> tuple[int, int]:
        """The newest CUDA that the driver runs: 13.2 is (13, 2)."""
        version = int(self._call(self._cuda.cuDriverGetVersion))
        return version // 1000, version % 1000 // 10

    def memory_info(self) -> tuple[int, int]:
        """(free, total) bytes of the GPU's memory, all processes counted."""
        free, total = self._call(self._cuda.cuMemGetInfo)
        return int(free), int(total)

    # Memory

    def allocate(self, nbytes: int) -> int:
        """Address of new device memory, uninitialised. Raises ResourceError without room."""
        return int(self._call(self._cuda.cuMemAlloc, nbytes))

    def free(self, address: int) -> None:
        self._call(self._cuda.cuMemFree, address)

    def allocate_pinned(self, nbytes: int) -> int:
        """Address of new page-locked host memory, which kernels can use under the same address."""
        flags = self._cuda.CU_MEMHOSTALLOC_PORTABLE | self._cuda.CU_MEMHOSTALLOC_DEVICEMAP
        return int(self._call(self._cuda.cuMemHostAlloc, nbytes, flags))

    def free_pinned(self, address: int) -> None:
        self._call(self._cuda.cuMemFreeHost, address)

    def copy_to_device(self, address: int, host: int, nbytes: int, stream: int) -> None:
        self._call(self._cuda.cuMemcpyHtoDAsync, address, host, nbytes, stream)

    def copy_to_host(self, host: int, address: int, nbytes: int, stream: int) -> None:
        self._call(self._cuda.cuMemcpyDtoHAsync, host, address, nbytes, stream)

    def copy_on_device(self, address: int, source: int, nbytes: int, stream: int) -> None:
        self._call(self._cuda.cuMemcpyDtoDAsync, address, source, nbytes, stream)

    def copy_rows_on_device(
        self,
        address: int,
        pitch: int,
        source: int,
        source_pitch: int,
        rows: tuple[int, int],
        stream: int,
    ) -> None:
        """Copy (count, nbytes) `rows`, whose beginnings are `pitch` bytes apart there and
        `source_pitch` here."""
        copy = self._cuda.CUDA_MEMCPY2D()
        copy.srcMemoryType = copy.dstMemoryType = self._cuda.CUmemorytype.CU_MEMORYTYPE_DEVICE
        copy.srcDevice, copy.srcPitch = source, source_pitch
        copy.dstDevice, copy.dstPitch = address, pitch
        copy.Height, copy.WidthInBytes = rows
        self._call(self._cuda.cuMemcpy2DAsync, copy, stream)

    def clear(self, address: int, nbytes: int, stream: int) -> None:
        """Set `nbytes` bytes to zero."""
        self._call(self._cuda.cuMemsetD8Async, address, 0, nbytes, stream)

    # Streams and events

    def new_stream(self, priority: int = 0) -> int:
        """A stream that does not wait for the default one; lower numbers run first."""
        flags = int(self._cuda.CUstream_flags.CU_STREAM_NON_BLOCKING)
        return int(self._call(self._cuda.cuStreamCreateWithPriority, flags, priority))

    def synchronize(self, stream: int) -> None:
        """Wait until everything on the stream is done."""
        self._call(self._cuda.cuStreamSynchronize, stream)

    def destroy_stream(self, stream: int) -> None:
        self._call(self._cuda.cuStreamDestroy, stream)

    def new_event(self, timing: bool = False) -> int:
        kinds = self._cuda.CUevent_flags
        flags = kinds.CU_EVENT_DEFAULT if timing else kinds.CU_EVENT_DISABLE_TIMING
        return int(self._call(self._cuda.cuEventCreate, int(flags)))

    def record(self, event: int, stream: int) -> None:
        self._call(self._cuda.cuEventRecord, event, stream)

    def wait(self, stream: int, event: int) -> None:
        """Let the stream go on only after the event; the host does not wait."""
        self._call(self._cuda.cuStreamWaitEvent, stream, event, 0)

    def synchronize_event(self, event: int) -> None:
        """Wait until the event's last record has been reached; at once if there was none."""
        self._call(self._cuda.cuEventSynchronize, event)

    def elapsed_ms(self, start: int, end: int) -> float:
        """Milliseconds between two reached events that were made with `timing`."""
        return float(self._call(self._cuda.cuEventElapsedTime, start, end))

    def destroy_event(self, event: int) -> None:
        self._call(self._cuda.cuEventDestroy, event)

    # Kernels

    def load_kernel(self, cubin: bytes, name: str, argument_types: tuple[Any, ...]) -> Kernel:
        """The kernel `name` of machine code for this GPU. It stays loaded with the context.

        `argument_types` are ctypes types in the order of its parameters.
        """
        module = self._call(self._cuda.cuModuleLoadData, cubin)
        function = self._call(self._cuda.cuModuleGetFunction, module, name.encode())
        return Kernel(name, int(function), argument_types)

    def launch(
        self, kernel: Kernel, blocks: int, threads: int, arguments: tuple[Any, ...], stream: int
    ) -> None:
        """Enqueue `blocks` blocks of `threads` threads. The driver copies the arguments."""
        values = [kind(v) for kind, v in zip(kernel.argument_types, arguments, strict=True)]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        grid, block = (blocks, 1, 1), (threads, 1, 1)
        self._call(
            self._cuda.cuLaunchKernel,
            *(kernel.handle, *grid, *block, 0, stream, ctypes.addressof(pointers), 0),
        )

    # Graphs

    def begin_capture(self, stream: int) -> None:
        """What this thread enqueues on the stream from now on becomes nodes of a graph."""
        mode = self._cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._call(self._cuda.cuStreamBeginCapture, stream, mode)

    def end_capture(self, stream: int) -> int:
        """The graph of what was enqueued since `begin_capture`."""
        return int(self._call(self._cuda.cuStreamEndCapture, stream))

    def instantiate(self, graph: int) -> int:
        """An executable of the graph, which may then be destroyed."""
        return int(self._call(self._cuda.cuGraphInstantiate, graph, 0))

    def launch_graph(self, executable: int, stream: int) -> None:
        self._call(self._cuda.cuGraphLaunch, executable, stream)

    def destroy_graph(self, graph: int) -> None:
        self._call(self._cuda.cuGraphDestroy, graph)

    def destroy_executable(self, executable: int) -> None:
        """One that still runs is freed when it is done; what its kernels use is not its own."""
        self._call(self._cuda.cuGraphExecDestroy, executable)
