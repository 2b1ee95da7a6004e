"""What an export is made by: bundles that another tool made give it nothing to use again."""

from __future__ import annotations

import hashlib
import importlib.metadata
from functools import cache
from pathlib import Path

from wan_trt.engine import prompts


@cache
def tool() -> str:
    """Versions of what decides the bytes of a bundle, and a hash of our own code, which a version
    does not pin down while it is being worked on."""
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for file in (*sorted(folder.rglob("*.py")), Path(prompts.__file__)):
        digest.update(f"{file.name}\0".encode())
        digest.update(file.read_bytes())
    versions = [
        f"{name} {_version(name)}" for name in ("wan-trt", "torch", "onnx-ir", "tokenizers")
    ]
    return ", ".join([*versions, f"code {digest.hexdigest()[:12]}"])


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "from a source tree"
