"""The nodes of an FP8 linear: QuantizeLinear and DequantizeLinear around its MatMul.

    x -> QuantizeLinear -> DequantizeLinear -> MatMul(., DequantizeLinear(weight, axis=1)) -> Add
    x -------------------------------------> MatMul(., DequantizeLinear(weight, axis=1)) -> Add

TensorRT is to make one FP8 GEMM of the first, in the form that plan/column_scales.py gives it; ONNX
Runtime computes the MatMul in float32 on the rounded values. The second is a context's
(rounding.py): E4M3 for the sake of its bytes. Only what enters a MatMul is rounded, for that MatMul
alone: the residual stream, and with it what the LayerNorms read, is never. What a LayerNorm gives
may be: `cross_attn.q` reads norm3's output.
"""

from __future__ import annotations

import onnx_ir

from wan_trt.export.quantize import attention_nodes
from wan_trt.export.quantize.e4m3_nodes import (
    describe,
    input_scale,
    parameter,
    rounded,
    weight_scale,
)
from wan_trt.export.quantize.rounding import Rounding


def insert(model: onnx_ir.Model, rounding: Rounding) -> None:
    """Round what `rounding` says. The scales become initializers without data.

    Each input has a QuantizeLinear of its own, also where several linears read one tensor (q, k
    and v): the ranges are each linear's own, and the experts', for which the graph is the same, may
    differ.
    """
    attention_nodes.insert(model, rounding.inputs - rounding.weights)
    for linear in sorted(rounding.weights):
        product = _round_weight(model.graph, linear)
        if linear in rounding.inputs:
            _round_input(model.graph, linear, product)


def _round_weight(graph: onnx_ir.Graph, linear: str) -> onnx_ir.Node:
    """The product that reads it."""
    weight = graph.initializers[f"{linear}.weight"]
    uses = [(node.op_type, index) for node, index in weight.uses()]
    if uses != [("MatMul", 1)] or weight.shape is None:
        raise RuntimeError(f"{linear} is no linear: its weight is read by {uses}")
    ((product, _),) = weight.uses()
    channels = parameter(graph, weight_scale(linear), weight.shape[1])
    matrix = onnx_ir.node("DequantizeLinear", [weight, channels], attributes={"axis": 1})
    describe(matrix, f"{linear}.weight_float32", weight.shape, onnx_ir.DataType.FLOAT)
    graph.insert_before(product, matrix)
    product.replace_input_with(1, matrix.outputs[0])
    return product


def _round_input(graph: onnx_ir.Graph, linear: str, product: onnx_ir.Node) -> None:
    source = product.inputs[0]
    assert source is not None, "a MatMul has two inputs"
    scale = parameter(graph, input_scale(linear))
    narrow, wide = rounded(graph, source, scale, f"{linear}.input")
    graph.insert_before(product, [narrow, wide])
    product.replace_input_with(0, wide.outputs[0])
