"""The contract of an executor: run one graph, at one size, on tensors at fixed addresses.

ONNX Runtime on a CPU (`engine/ort.py`) and on a GPU (`engine/ort_cuda.py`) and captured launches
(`engine/capture.py`) keep it, so nothing above this file knows which of them runs. Tensors are
those of the executor's space (`engine/space.py`): numpy arrays on a host, `DeviceTensor`s on a GPU.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

_ITEM_NBYTES = {"bfloat16": 2, "float8_e4m3fn": 1}  # what numpy has no type for
_DIMENSION = re.compile(r"^(?:(\d+)\*)?([a-z_]+)(?:([+-]\d+))?$")


def evaluate_dimension(dimension: int | str, sizes: Mapping[str, int]) -> int:
    """Value of a dimension written as `7`, `rows`, `2*rows`, `latents+1` or `4*latents-3`.

    Raises KeyError when `sizes` lacks the symbol, ValueError when the text is of another form.
    """
    if isinstance(dimension, int):
        return dimension
    factor, symbol, offset = parse_dimension(dimension)
    return factor * sizes[symbol] + offset


def parse_dimension(text: str) -> tuple[int, str, int]:
    """`4*latents-3` -> (4, "latents", -3). Raises ValueError when it is of another form."""
    match = _DIMENSION.match(text)
    if match is None:
        raise ValueError(f"dimension {text!r} is not of the form [N*]name[+N|-N]")
    factor, symbol, offset = match.groups()
    return int(factor or 1), symbol, int(offset or 0)


def item_nbytes(dtype: str) -> int:
    """Bytes of one number of a graph's tensor or parameter."""
    return _ITEM_NBYTES.get(dtype) or np.dtype(dtype).itemsize


@dataclass(frozen=True)
class TensorSpec:
    """Name, dtype ("float32", "int64") and dimensions (numbers or symbols) of a graph's tensor."""

    name: str
    dtype: str
    dimensions: tuple[int | str, ...]

    def shape(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        return tuple(evaluate_dimension(d, sizes) for d in self.dimensions)


@dataclass(frozen=True)
class GraphSpec:
    """Inputs and outputs of a graph in the order of its definition."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def caches(self) -> tuple[tuple[str, str], ...]:
        """(output, input) names of recurrent state: output `next_X` feeds input `X`."""
        names = {spec.name for spec in self.inputs}
        return tuple(
            (spec.name, spec.name.removeprefix("next_"))
            for spec in self.outputs
            if spec.name.startswith("next_") and spec.name.removeprefix("next_") in names
        )


class Bindings(Protocol):
    """Named tensors at fixed addresses for one size.

    On a CPU the arrays are views of the bound memory: write inputs in place, read outputs after
    `launch`.
    """

    @property
    def inputs(self) -> Mapping[str, Any]: ...

    @property
    def outputs(self) -> Mapping[str, Any]: ...


class Executor(Protocol):
    """Runs one graph with one set of weights."""

    @property
    def spec(self) -> GraphSpec: ...

    def bind(self, sizes: Mapping[str, int], tensors: Mapping[str, Any] | None = None) -> Bindings:
        """Tensors for these symbol values, e.g. {"frames": 21, "rows": 45, "columns": 80}.

        `tensors` has inputs and outputs by name, contiguous, whose memory outlives the bindings:
        two bindings that swap a recurrent graph's caches run it without copying them. An executor
        on a host makes those that are missing; one on a GPU has no memory of its own. Bindings are
        kept until what was launched with them is done: they may own memory that kernels use.

        Raises ValueError for a tensor of another shape or dtype, an unknown name, or one that is
        missing; ResourceError without memory.
        """
        ...

    def launch(self, bindings: Bindings, stream: int | None = None) -> None:
        """Compute the outputs from the inputs. On a CPU, where `stream` is None, it returns when
        they are ready; on a GPU it enqueues that on the stream and neither waits nor allocates.

        Raises ExecutionError when the backend fails, ValueError for bindings of another kind of
        executor, or when it is closed.
        """
        ...

    def close(self) -> None:
        """Release weights and bindings. What was launched must be done."""
        ...


def run(executor: Executor, sizes: Mapping[str, int], **inputs: NDArray[Any]) -> dict[str, Any]:
    """Bind, fill, launch and copy the outputs out, on a host: for calls that are made once."""
    bindings = executor.bind(sizes)
    for name, value in inputs.items():
        np.copyto(bindings.inputs[name], value, casting="same_kind")
    executor.launch(bindings)
    return {name: value.copy() for name, value in bindings.outputs.items()}
