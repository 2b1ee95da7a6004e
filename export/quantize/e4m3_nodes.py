"""A tensor of a graph rounded to E4M3 and back: QuantizeLinear, then DequantizeLinear."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir
from numpy.typing import NDArray

E4M3 = onnx_ir.DataType.FLOAT8E4M3FN
_ZERO = "e4m3_zero"


def weight_scale(linear: str) -> str:
    """The parameter float32 [out] of an FP8 linear."""
    return f"{linear}.weight_scale"


def input_scale(name: str) -> str:
    """The parameter float32 [] of an FP8 linear, or of an input of FP8 attention."""
    return f"{name}.input_scale"


def rounded(
    graph: onnx_ir.Graph, source: onnx_ir.Value, scale: onnx_ir.Value, name: str
) -> tuple[onnx_ir.Node, onnx_ir.Node]:
    """The two nodes, which are in no graph yet, `name` the stem of their names. `scale` float32 [].

    QuantizeLinear's type comes from its zero point, one for the whole graph: parsers know that form
    longer than the attribute `output_dtype`.
    """
    zero = constant(graph, _ZERO, np.zeros((), E4M3.numpy()))
    narrow = onnx_ir.node("QuantizeLinear", [source, scale, zero])
    wide = onnx_ir.node("DequantizeLinear", [narrow.outputs[0], scale])
    describe(narrow, f"{name}_e4m3", source.shape, E4M3)
    describe(wide, f"{name}_rounded", source.shape, onnx_ir.DataType.FLOAT)
    return narrow, wide


def describe(
    node: onnx_ir.Node, name: str, shape: onnx_ir.Shape | None, dtype: onnx_ir.DataType
) -> None:
    """Name a node and its only output, and say what that is."""
    output = node.outputs[0]
    output.name, output.shape, output.dtype = name, shape, dtype
    node.name = name


def parameter(graph: onnx_ir.Graph, name: str, *shape: int | onnx_ir.SymbolicDim) -> onnx_ir.Value:
    """A float32 initializer whose data comes later."""
    return _initializer(graph, name, onnx_ir.DataType.FLOAT, shape)


def constant(graph: onnx_ir.Graph, name: str, data: NDArray[Any]) -> onnx_ir.Value:
    """The initializer of this name with this data; there may be one already."""
    if name in graph.initializers:
        return graph.initializers[name]
    tensor = onnx_ir.Tensor(data, name=name)
    value = _initializer(graph, name, tensor.dtype, data.shape)
    value.const_value = tensor
    return value


def _initializer(
    graph: onnx_ir.Graph,
    name: str,
    dtype: onnx_ir.DataType,
    shape: Sequence[int | onnx_ir.SymbolicDim],
) -> onnx_ir.Value:
    value = onnx_ir.Value(
        name=name,
        shape=onnx_ir.Shape(shape),
        type=onnx_ir.TensorType(dtype),
    )
    graph.initializers[name] = value
    return value
