"""The GPU and the TensorRT of this machine."""

from __future__ import annotations

import re
from pathlib import Path

import tensorrt as trt

from wan_trt.engine.cuda.driver import Device
from wan_trt.engine.plan_entry import Gpu

_DRIVER = Path("/proc/driver/nvidia/version")


def tensorrt_version() -> str:
    return trt.__version__


def describe(device: Device) -> Gpu:
    """A GPU as plans name it."""
    told = re.search(r"\b\d+\.\d+(\.\d+)?\b", _DRIVER.read_text() if _DRIVER.is_file() else "")
    driver = f"{told[0]}, " if told else ""
    major, minor = device.gpu.compute_capability
    cuda_major, cuda_minor = device.cuda_version
    return Gpu(
        name=device.gpu.name,
        compute_capability=f"{major}.{minor}",
        driver=f"{driver}CUDA {cuda_major}.{cuda_minor}",
    )
