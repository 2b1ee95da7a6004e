"""The nodes of an FP8 linear: QuantizeLinear and DequantizeLinear around its MatMul.

    x -> QuantizeLinear -> DequantizeLinear -> MatMul(., DequantizeLinear(weight, axis=1)) -> Add

TensorRT makes one FP8 GEMM of it; ONNX Runtime computes the MatMul in float32 on the rounded
values. Only what enters a MatMul is rounded, for that MatMul alone: the residual stream, and with
it what the LayerNorms read, is never. What a LayerNorm gives may be: `cross_attn.q` reads norm3's
output.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import onnx_ir

_ZERO = "e4m3_zero"
_E4M3 = onnx_ir.DataType.FLOAT8E4M3FN


def weight_scale(linear: str) -> str:
    """The parameter float32 [out] of an FP8 linear."""
    return f"{linear}.weight_scale"


def input_scale(linear: str) -> str:
    """The parameter float32 [] of an FP8 linear."""
    return f"{linear}.input_scale"


def insert(model: onnx_ir.Model, linears: Collection[str]) -> None:
    """Make `linears` FP8 linears: their scales become initializers without data.

    Each has a QuantizeLinear of its own, also where several read one tensor (q, k and v): the
    ranges are each linear's own, and the experts', for which the graph is the same, may differ.
    """
    if not linears:
        return
    graph = model.graph
    zero = np.zeros((), _E4M3.numpy())
    zero_point = _initializer(graph, _ZERO, _E4M3, ())
    zero_point.const_value = onnx_ir.Tensor(zero, dtype=_E4M3, name=_ZERO)
    for linear in sorted(linears):
        weight = graph.initializers[f"{linear}.weight"]
        uses = [(node.op_type, index) for node, index in weight.uses()]
        if uses != [("MatMul", 1)] or weight.shape is None:
            raise RuntimeError(f"{linear} is no linear: its weight is read by {uses}")
        (product, _), outputs = next(iter(weight.uses())), weight.shape[1]
        source = product.inputs[0]
        assert source is not None, "a MatMul has two inputs"
        scale = _initializer(graph, input_scale(linear), onnx_ir.DataType.FLOAT, ())
        channels = _initializer(graph, weight_scale(linear), onnx_ir.DataType.FLOAT, (outputs,))
        narrow = onnx_ir.node("QuantizeLinear", [source, scale, zero_point])
        wide = onnx_ir.node("DequantizeLinear", [narrow.outputs[0], scale])
        matrix = onnx_ir.node("DequantizeLinear", [weight, channels], attributes={"axis": 1})
        for node, name, like, dtype in (
            (narrow, f"{linear}.input_e4m3", source, _E4M3),
            (wide, f"{linear}.input_rounded", source, onnx_ir.DataType.FLOAT),
            (matrix, f"{linear}.weight_float32", weight, onnx_ir.DataType.FLOAT),
        ):
            output = node.outputs[0]
            output.name, output.shape, output.dtype = name, like.shape, dtype
            node.name = name
        graph.insert_before(product, [narrow, wide, matrix])
        product.replace_input_with(0, wide.outputs[0])
        product.replace_input_with(1, matrix.outputs[0])


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
