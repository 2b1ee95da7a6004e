"""Which tensor stands behind each name of a graph, checked: the same for every executor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from wan_trt.engine.executor import GraphSpec, TensorSpec

Make = Callable[[tuple[int, ...], str], Any]
"""(shape, dtype) -> a new tensor."""


def bound_tensors(
    name: str,
    spec: GraphSpec,
    sizes: Mapping[str, int],
    tensors: Mapping[str, Any] | None,
    make: Make | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Inputs and outputs of graph `name`; those that are not given come from `make`. Raises what
    `Executor.bind` says."""
    given = dict(tensors or {})
    inputs = {tensor.name: bound_tensor(tensor, sizes, given, make) for tensor in spec.inputs}
    outputs = {tensor.name: bound_tensor(tensor, sizes, given, make) for tensor in spec.outputs}
    if given:
        raise ValueError(f"{name} has no tensors {sorted(given)}")
    return inputs, outputs


def bound_tensor(
    spec: TensorSpec, sizes: Mapping[str, int], given: dict[str, Any], make: Make | None
) -> Any:
    """The tensor of a graph, taken out of `given`, or made."""
    shape = spec.shape(sizes)
    tensor = given.pop(spec.name, None)
    if tensor is None:
        if make is None:
            raise ValueError(f"{spec.name}, {spec.dtype} {shape}, is not given")
        return make(shape, spec.dtype)
    if tensor.shape != shape or tensor.dtype != spec.dtype or not _contiguous(tensor):
        raise ValueError(
            f"{spec.name} must be contiguous {spec.dtype} {shape}, not {tensor.dtype} "
            f"{tensor.shape}"
        )
    return tensor


def _contiguous(tensor: Any) -> bool:
    flags = getattr(tensor, "flags", None)  # a numpy array's
    return bool(tensor.contiguous if flags is None else flags.c_contiguous)
