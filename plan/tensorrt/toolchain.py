"""The GPU and the TensorRT of this machine."""

from __future__ import annotations

import re
from pathlib import Path

import tensorrt as trt
from cuda.bindings import runtime

from wan_trt.engine.plan_entry import Gpu
from wan_trt.plan.tensorrt.device import call

_DRIVER = Path("/proc/driver/nvidia/version")


def tensorrt_version() -> str:
    return trt.__version__


def current_gpu() -> Gpu:
    """The GPU that CUDA calls go to. Raises ResourceError without one."""
    properties = call(runtime.cudaGetDeviceProperties, call(runtime.cudaGetDevice))
    cuda = call(runtime.cudaDriverGetVersion)
    told = re.search(r"\b\d+\.\d+(\.\d+)?\b", _DRIVER.read_text() if _DRIVER.is_file() else "")
    driver = f"{told[0]}, " if told else ""
    return Gpu(
        name=properties.name.decode().rstrip("\0"),
        compute_capability=f"{properties.major}.{properties.minor}",
        driver=f"{driver}CUDA {cuda // 1000}.{cuda % 1000 // 10}",
    )
