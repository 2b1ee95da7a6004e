"""The machine and the versions that numbers belong to."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Sequence

from wan_trt.engine.processor import describe_processor

PACKAGES = ("diffusers", "transformers", "torch", "onnxruntime", "numpy")


def describe_machine(
    threads: int, packages: Sequence[str] = PACKAGES
) -> dict[str, str | int | float | dict[str, str]]:
    """Processor, threads, memory in GB, load before the run, versions of `packages`."""
    return {
        "processor": describe_processor(),
        "cores": os.cpu_count() or 1,
        "threads": threads,
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "load_before": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "versions": {name: importlib.metadata.version(name) for name in packages},
    }
