"""The kernels of this package, compiled for the GPU at hand by NVRTC, which itself needs no GPU."""

from __future__ import annotations

import ctypes
import importlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from wan_trt.engine.cuda.driver import Device, Kernel
from wan_trt.engine.errors import ExecutionError, ResourceError


@dataclass(frozen=True)
class KernelSource:
    """CUDA C++ of one `extern "C"` kernel of that name.

    `fused` lets the compiler fuse multiplication and addition, as it does unless told otherwise;
    `argument_types` are ctypes types, c_void_p for addresses.
    """

    name: str
    text: str
    argument_types: tuple[Any, ...]
    fused: bool


def _read(name: str, argument_types: tuple[Any, ...], fused: bool) -> KernelSource:
    text = files(__package__).joinpath("kernels", f"{name}.cu").read_text(encoding="utf-8")
    return KernelSource(name, text, argument_types, fused)


_ADDRESS, _UINT64, _UINT32 = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32

# torch is built with fused arithmetic, and its noise is wanted.
PHILOX_NORMAL = _read("philox_normal", (_ADDRESS, _UINT64, _UINT64, _UINT64, _UINT32), fused=True)
# numpy has none, and its results are wanted.
SOLVER_UPDATE = _read("solver_update", (*[_ADDRESS] * 8, _UINT64), fused=False)


@cache
def compile_cubin(source: KernelSource, architecture: str) -> bytes:
    """Machine code for an architecture such as "sm_90".

    Raises ResourceError where the compiler is not installed, ExecutionError where it refuses.
    """
    core = _cuda_core()
    options = core.ProgramOptions(
        name=f"{source.name}.cu", arch=architecture, std="c++17", fma=source.fused
    )
    try:
        return bytes(core.Program(source.text, "c++", options).compile("cubin").code)
    except Exception as error:  # each layer of it has exceptions of its own, of no common kind
        text = " ".join(str(error).split())
        raise ExecutionError(
            f"kernel {source.name} does not compile for {architecture}: {text}",
            action="install the NVRTC of CUDA 13 (pip install 'wan-trt[cuda]'), or report this",
        ) from error


def _cuda_core() -> Any:
    """The module of cuda-core that has the compiler; before 1.0 that is `experimental`."""
    found = None
    for name in ("cuda.core", "cuda.core.experimental"):
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        if hasattr(module, "Program") and hasattr(module, "ProgramOptions"):
            return module
        found = found or module
    version = getattr(found, "__version__", "unknown")
    raise ResourceError(
        "the Python package cuda-core "
        + ("is not installed" if found is None else f"{version} has no Program"),
        expected="1.0 or later, to compile kernels",
        action="pip install 'wan-trt[cuda]'",
    )


def load_kernel(device: Device, source: KernelSource) -> Kernel:
    """The kernel, compiled for this device and loaded."""
    major, minor = device.gpu.compute_capability
    cubin = compile_cubin(source, f"sm_{major}{minor}")
    return device.load_kernel(cubin, source.name, source.argument_types)
