"""Which processor this is: times that were measured on one say nothing of another."""

from __future__ import annotations

import platform
from pathlib import Path


def describe_processor(info: Path = Path("/proc/cpuinfo")) -> str:
    """Name and instruction sets that matter to matrix products."""
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
