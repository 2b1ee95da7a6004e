"""TensorRT plans beside torch, in the same run: what there is of them."""

from __future__ import annotations

from importlib.util import find_spec

WHAT = "TensorRT plans"


def why_missing() -> str:
    """Why no plan is measured."""
    if find_spec("tensorrt") is None:
        return "TensorRT is not installed"
    return "TensorRT is installed; measuring plans is not written yet"
