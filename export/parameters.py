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
    """Let all who use the parameter, or the rows that are looked up in it, get it as float32."""
    users = [node for node, _ in parameter.uses()]
    lookup = users[0] if [node.op_type for node in users] == ["Gather"] else None
    value = parameter if lookup is None else lookup.outputs[0]
    value.dtype = dtype
    uses = list(value.uses())
    cast = onnx_ir.node("Cast", [value], attributes={"to": onnx_ir.DataType.FLOAT})
    wide = cast.outputs[0]
    wide.name, wide.shape = f"{value.name}_float32", value.shape
    wide.dtype = onnx_ir.DataType.FLOAT
    if lookup is None:
        graph.insert_before(next(node for node in graph if node in users), cast)
    else:
        graph.insert_after(lookup, cast)
    for node, index in uses:
        node.replace_input_with(index, wide)
