"""The libraries that ONNX Runtime's CUDA provider needs, found where pip puts them.

onnxruntime-gpu brings none and asks the dynamic linker alone, which does not look into Python's
folders. A library that is loaded already, from wherever, satisfies it. CUDA's are found by
cuda-pathfinder (packages, conda, CUDA_PATH, the system), which does not know cuDNN.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
from functools import cache
from pathlib import Path

import onnxruntime  # type: ignore[import-untyped]

from wan_trt.engine.errors import ResourceError

CUDA = "CUDAExecutionProvider"
_LIBRARIES = ("cudart", "cublasLt", "cublas", "curand", "cufft")
_CUDNN = "libcudnn.so.9"
_ERROR = 3
INSTALL = "pip install 'onnxruntime-gpu[cuda,cudnn]', or put CUDA and cuDNN 9 on LD_LIBRARY_PATH"
"""What to do where one is missing."""


@cache
def load_libraries() -> None:
    """Once for all sessions. Raises ResourceError without cuda-pathfinder, and without cuDNN, of
    which ONNX Runtime speaks only in the first run that needs it; what else is missing,
    `missing_library` tells."""
    # Each session on the provider would print that it does not come as a plugin.
    onnxruntime.set_default_logger_severity(_ERROR)
    _load_cuda()
    try:
        ctypes.CDLL(_found_cudnn() or _CUDNN)
    except OSError as error:
        raise ResourceError(
            f"cuDNN does not load ({error})",
            expected="cuDNN 9, for ONNX Runtime's CUDA provider",
            action=INSTALL,
        ) from None


def missing_library() -> ResourceError:
    """Why a session came without the CUDA provider, which ONNX Runtime does not tell."""
    return ResourceError(
        f"ONNX Runtime {onnxruntime.__version__} cannot start its CUDA provider: "
        f"{linking_fault() or 'it refuses the GPU or its driver'}",
        expected="the CUDA that this onnxruntime-gpu was built for, and a driver for it",
        action=INSTALL,
    )


def linking_fault() -> str | None:
    """What the linker says of the provider; None where it has all libraries. No session on it may
    follow in this process: the provider expects to be loaded by ONNX Runtime."""
    folder = Path(onnxruntime.__file__).parent / "capi"
    try:
        ctypes.CDLL(str(folder / "libonnxruntime_providers_shared.so"), ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(folder / "libonnxruntime_providers_cuda.so"))
    except OSError as error:
        return str(error)
    return None


def _load_cuda() -> None:
    try:
        pathfinder = importlib.import_module("cuda.pathfinder")
    except ImportError:
        raise ResourceError(
            "the Python package cuda-pathfinder is not installed",
            expected="it, to find CUDA's libraries",
            action="pip install 'wan-trt[cuda]'",
        ) from None
    for name in _LIBRARIES:
        try:
            pathfinder.load_nvidia_dynamic_lib(name)
        except pathfinder.DynamicLibNotFoundError:
            continue  # whether that matters is seen when a session starts


def _found_cudnn() -> str | None:
    """In a package of NVIDIA's, on any of Python's paths."""
    try:
        package = importlib.util.find_spec("nvidia.cudnn")
    except ModuleNotFoundError:
        return None
    places = package.submodule_search_locations if package is not None else None
    for place in places or ():
        if (found := Path(place) / "lib" / _CUDNN).is_file():
            return str(found)
    return None
