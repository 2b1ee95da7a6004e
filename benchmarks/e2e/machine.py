"""The machine and the versions that numbers belong to."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from pathlib import Path

PACKAGES = ("diffusers", "transformers", "torch", "onnxruntime", "numpy")


def describe_machine(
    threads: int, packages: Sequence[str] = PACKAGES
) -> dict[str, str | int | float | dict[str, str]]:
    """Processor, threads, memory in GB, load before the run, versions of `packages`."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "threads": threads,
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "load_before": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "versions": {name: importlib.metadata.version(name) for name in packages},
    }


def _processor() -> str:
    """Name and instruction sets that matter to matrix products."""
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return platform.processor() or platform.machine()
    fields: dict[str, str] = {}
    for line in info.read_text().splitlines():
        name, _, value = line.partition(":")
        fields[name.strip()] = value.strip()
    flags = fields.get("flags", "").split()
    sets = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_tile") if name in flags]
    model = f"family {fields.get('cpu family')} model {fields.get('model')}"
    return f"{fields.get('model name', platform.machine())} ({model}; {', '.join(sets)})"
