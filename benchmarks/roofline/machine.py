"""The device and the software that numbers belong to."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version

import torch

_PACKAGES = ("triton", "sageattention", "flash-attn-3", "tensorrt")
_STATE = "driver_version,clocks.sm,clocks.max.sm,power.draw,power.limit,temperature.gpu"


def describe(device: torch.device) -> dict[str, str]:
    found = {"device": platform.processor() or platform.machine(), "torch": torch.__version__}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found["device"] = properties.name
        found["multiprocessors"] = str(properties.multi_processor_count)
        found["memory"] = f"{properties.total_memory / 1e9:.1f} GB"
        found["CUDA"] = str(torch.version.cuda)
        found["cuDNN"] = str(torch.backends.cudnn.version())  # type: ignore[no-untyped-call]
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def state(device: torch.device) -> str | None:
    """Driver, clocks, power and temperature as nvidia-smi tells them now; None without it."""
    if device.type != "cuda":
        return None
    command = ["nvidia-smi", f"--query-gpu={_STATE}", "--format=csv,noheader"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{_STATE}: {told.stdout.splitlines()[0]}" if told.stdout.strip() else None
