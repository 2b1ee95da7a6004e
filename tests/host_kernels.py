"""CUDA kernels as CPU code: the same source, compiled by g++."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from wan_trt.engine.cuda.nvrtc import KernelSource

HEADER = Path(__file__).with_name("cuda_on_host.h")


@dataclass(frozen=True)
class HostKernel:
    """A kernel as a function; it takes the addresses of its arguments, as the driver does."""

    argument_nbytes: tuple[int, ...]
    function: Any

    def __call__(self, blocks: int, threads: int, arguments: list[bytes]) -> None:
        values = [ctypes.create_string_buffer(value, len(value)) for value in arguments]
        pointers = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
        self.function(blocks, threads, pointers)


def compile_for_host(source: KernelSource, folder: Path) -> bytes:
    """The path of a shared library with the kernel: what `load_host_kernel` takes. One that lies
    in the folder already is not made again."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ to compile kernels for the CPU")
    unit, library = folder / f"{source.name}.cpp", folder / f"{source.name}.so"
    if library.exists():
        return str(library).encode()
    unit.write_text(
        f'#include "{HEADER}"\n{source.text}\n'
        f'extern "C" void launch(unsigned blocks, unsigned threads, void **arguments)\n'
        f"{{ run({source.name}, blocks, threads, arguments); }}\n"
        f'extern "C" const unsigned *nbytes() {{ return sizes({source.name}); }}\n',
        encoding="utf-8",
    )
    options = ["-std=c++17", "-O2", "-Wall", "-Werror", "-ffp-contract=off", "-shared", "-fPIC"]
    subprocess.run([compiler, *options, "-o", library, unit], check=True, timeout=60)
    return str(library).encode()


def load_host_kernel(image: bytes) -> HostKernel:
    library = ctypes.CDLL(image.decode())
    library.nbytes.restype = ctypes.POINTER(ctypes.c_uint)
    library.launch.argtypes = [ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p]
    library.launch.restype = None
    sizes = library.nbytes()
    count = next(i for i in range(64) if sizes[i] == 0)
    return HostKernel(tuple(sizes[:count]), library.launch)
