"""What an export is made by: bundles that another tool made give it nothing to use again."""

from __future__ import annotations

import hashlib
import importlib.metadata
from functools import cache
from pathlib import Path

import torch


@cache
def tool() -> str:
    """Version, torch, and a hash of this package's own code, which a version does not pin down
    while it is being worked on."""
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for file in sorted(folder.rglob("*.py")):
        digest.update(f"{file.relative_to(folder)}\0".encode())
        digest.update(file.read_bytes())
    return f"wan-trt {_version()}, torch {torch.__version__}, code {digest.hexdigest()[:12]}"


def _version() -> str:
    try:
        return importlib.metadata.version("wan-trt")
    except importlib.metadata.PackageNotFoundError:
        return "from a source tree"
