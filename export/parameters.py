"""A graph's parameters as external tensors, and the casts from what is stored to float32."""

from __future__ import annotations

import math
from collections.abc import Mapping

import onnx_ir

from wan_trt.export.precision import BFLOAT16, FLOAT8, FLOAT32

_DTYPES = {
    FLOAT32: onnx_ir.DataType.FLOAT,
    BFLOAT16: onnx_ir.DataType.BFLOAT16,
    FLOAT8: onnx_ir.DataType.FLOAT8E4M3FN,
}


def refer(model: onnx_ir.Model, dtypes: Mapping[str, str]) -> None:
    """Make the parameters external tensors of these types, each in a file of its own name; where
    its data really lie is the manifest's to say.

    The graph computes in float32 whatever is stored: what is bfloat16 is cast, after the lookup
    where a parameter is a table of which few rows are used. E4M3 has DequantizeLinear for that
    (`quantize/nodes.py`).
    """
    for name, stored in dtypes.items():
        parameter, dtype = model.graph.initializers[name], _DTYPES[stored]
        assert parameter.shape is not None, "parameters have sizes"
        shape = onnx_ir.Shape(parameter.shape.numpy())
        if dtype is onnx_ir.DataType.BFLOAT16:
            _cast(model.graph, parameter, dtype)
        parameter.dtype = dtype
        nbytes = math.prod(shape.numpy()) * int(dtype.itemsize)
        parameter.const_value = onnx_ir.ExternalTensor(
            name, 0, nbytes, dtype, shape=shape, name=name
        )


def _cast(graph: onnx_ir.Graph, parameter: onnx_ir.Value, dtype: onnx_ir.DataType) -> None:
    """Let all who use the parameter get it as float32."""
    uses = list(parameter.uses())
    nodes = [node for node, _ in uses]
    if [node.op_type for node in nodes] == ["Gather"]:
        narrow = nodes[0].outputs[0]
        wide = _insert(graph, narrow, f"{narrow.name}_float32", behind=nodes[0])
        narrow.replace_all_uses_with(wide)
        wide.producer().replace_input_with(0, narrow)  # type: ignore[union-attr]
        narrow.dtype = dtype
        return
    first = next(node for node in graph if node in nodes)
    wide = _insert(graph, parameter, f"{parameter.name}_float32", before=first)
    for node, index in uses:
        node.replace_input_with(index, wide)


def _insert(
    graph: onnx_ir.Graph,
    value: onnx_ir.Value,
    name: str,
    *,
    before: onnx_ir.Node | None = None,
    behind: onnx_ir.Node | None = None,
) -> onnx_ir.Value:
    """A Cast of `value` to float32 at a place in the graph; gives its output."""
    node = onnx_ir.node("Cast", [value], attributes={"to": onnx_ir.DataType.FLOAT})
    wide = node.outputs[0]
    wide.name, wide.shape, wide.dtype = name, value.shape, onnx_ir.DataType.FLOAT
    if before is not None:
        graph.insert_before(before, node)
    elif behind is not None:
        graph.insert_after(behind, node)
    return wide
