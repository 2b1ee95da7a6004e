"""The nodes of an FP8 linear: QuantizeLinear and DequantizeLinear around its MatMul.

    x -> QuantizeLinear -> DequantizeLinear -> MatMul(., DequantizeLinear(weight, axis=1)) -> Add

TensorRT makes one FP8 GEMM of it; ONNX Runtime computes the MatMul in float32 on the rounded
values. Only what enters a MatMul is rounded, for that MatMul alone: the residual stream, and with
it what the LayerNorms read, is never. What a LayerNorm gives may be: `cross_attn.q` reads norm3's
output.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir

from wan_trt.export.quantize import attention_nodes
from wan_trt.export.quantize.attention_inputs import AttentionInput
from wan_trt.export.quantize.e4m3_nodes import (
    describe,
    input_scale,
    parameter,
    rounded,
    weight_scale,
)


def insert(model: onnx_ir.Model, names: Collection[str]) -> None:
    """Round what `names` says: the inputs of linears and of attentions. The scales become
    initializers without data.

    Each has a QuantizeLinear of its own, also where several linears read one tensor (q, k and v):
    the ranges are each linear's own, and the experts', for which the graph is the same, may differ.
    """
    attention = {name for name in names if AttentionInput.parse(name)}
    attention_nodes.insert(model, attention)
    for linear in sorted(set(names) - attention):
        _insert_linear(model.graph, linear)


def _insert_linear(graph: onnx_ir.Graph, linear: str) -> None:
    weight = graph.initializers[f"{linear}.weight"]
    uses = [(node.op_type, index) for node, index in weight.uses()]
    if uses != [("MatMul", 1)] or weight.shape is None:
        raise RuntimeError(f"{linear} is no linear: its weight is read by {uses}")
    (product, _), outputs = next(iter(weight.uses())), weight.shape[1]
    source = product.inputs[0]
    assert source is not None, "a MatMul has two inputs"
    scale = parameter(graph, input_scale(linear))
    channels = parameter(graph, weight_scale(linear), outputs)
    narrow, wide = rounded(graph, source, scale, f"{linear}.input")
    matrix = onnx_ir.node("DequantizeLinear", [weight, channels], attributes={"axis": 1})
    describe(matrix, f"{linear}.weight_float32", weight.shape, onnx_ir.DataType.FLOAT)
    graph.insert_before(product, [narrow, wide, matrix])
    product.replace_input_with(0, wide.outputs[0])
    product.replace_input_with(1, matrix.outputs[0])
