"""The nodes of FP8 self attention: an Attention node written out, what both products read rounded.

    query * 1/sqrt(d)  -> [1, heads, tokens, d] -> Q/DQ -.
    key                -> [1, heads, d, tokens] -> Q/DQ -> MatMul -> Softmax -> Q/DQ -.
    value              -> [1, heads, tokens, d] -> Q/DQ ----------------------------> MatMul -> rows

The form is ModelOpt's for TensorRT's fused FP8 attention (0.47: `onnx/export/fp8_exporter.py`, and
`export_fp8_mha` in `torch/quantization/export_onnx.py` for Flux and SD 3.5): the query is scaled
and the key transposed before they are rounded, so that every DequantizeLinear feeds its MatMul
directly; the softmax, which lies between 0 and 1, has the scale 1/448 whatever the data. TensorRT's
documentation ("Fused Attention") asks for the scale before the first product too. A Q/DQ pair on
the softmax alone would keep it from any fused kernel: there are all four or none.

ONNX Runtime computes both products in float32 and holds the scores of all heads, tokens x tokens.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import onnx_ir

from wan_trt.engine.calibration_record import E4M3_MAX
from wan_trt.export.modeling.attention import query_scale
from wan_trt.export.quantize.attention_inputs import (
    KEY,
    QUERY,
    VALUE,
    AttentionInput,
    attention_inputs,
    blocks_of,
)
from wan_trt.export.quantize.e4m3_nodes import constant, describe, input_scale, parameter, rounded

_BY_HEAD = (0, 2, 1, 3)  # [1, tokens, heads, d] to [1, heads, tokens, d], and back
_TRANSPOSED = (0, 2, 3, 1)  # to [1, heads, d, tokens]
_FLOAT = onnx_ir.DataType.FLOAT
_Shape = Sequence[int | onnx_ir.SymbolicDim]


def insert(model: onnx_ir.Model, names: Collection[str]) -> None:
    """Make those attentions FP8 whose inputs `names` are, three of a block. Their scales become
    initializers without data."""
    blocks = blocks_of(names)
    if odd := attention_inputs(blocks) ^ set(names):
        raise RuntimeError(f"an attention is rounded whole or not at all: {sorted(odd)}")
    for block in blocks:
        _write_out(model.graph, block)


def _write_out(graph: onnx_ir.Graph, block: int) -> None:
    node = _attention_node(graph, block)
    query, key, value = node.inputs
    assert query is not None, "an Attention has three inputs"
    assert query.shape is not None, "traced tensors have sizes"
    batch, tokens, dim = query.shape
    assert isinstance(dim, int), "only the number of tokens is a symbol"
    heads = node.attributes["q_num_heads"].as_int()
    width = dim // heads
    split = constant(graph, "attention_heads", np.array([0, 0, heads, width]))
    join = constant(graph, "attention_rows", np.array([0, 0, dim]))
    scale = constant(graph, "attention_query_scale", np.array(query_scale(width), np.float32))
    unit = constant(graph, "e4m3_unit_scale", np.array(1 / E4M3_MAX, np.float32))

    nodes = _Nodes(graph, node, AttentionInput(block, QUERY).module)
    scaled = nodes.add("Mul", [query, scale], "query_scaled", (batch, tokens, dim))
    operands = {}
    for operand, source, order in (
        (QUERY, scaled, _BY_HEAD),
        (KEY, key, _TRANSPOSED),
        (VALUE, value, _BY_HEAD),
    ):
        shape = batch, tokens, heads, width
        cut = nodes.add("Reshape", [source, split], f"{operand}_cut", shape)
        turned = [shape[axis] for axis in order]
        by_head = nodes.add("Transpose", [cut], f"{operand}_by_head", turned, perm=order)
        own = parameter(graph, input_scale(AttentionInput(block, operand).name))
        operands[operand] = nodes.round(by_head, own, f"{operand}.input")
    square = batch, heads, tokens, tokens
    scores = nodes.add("MatMul", [operands[QUERY], operands[KEY]], "scores", square)
    softmax = nodes.add("Softmax", [scores], "softmax", square, axis=-1)
    weights = nodes.round(softmax, unit, "softmax")
    by_head = nodes.add(
        "MatMul", [weights, operands[VALUE]], "mixed", (batch, heads, tokens, width)
    )
    by_token = nodes.add(
        "Transpose", [by_head], "mixed_by_token", (batch, tokens, heads, width), perm=_BY_HEAD
    )
    rows = nodes.add("Reshape", [by_token, join], "rows", (batch, tokens, dim))
    node.outputs[0].replace_all_uses_with(rows)
    graph.remove(node, safe=True)


class _Nodes:
    """Adds float32 nodes before `place`; `stem` begins their names."""

    def __init__(self, graph: onnx_ir.Graph, place: onnx_ir.Node, stem: str) -> None:
        self._graph, self._place, self._stem = graph, place, stem

    def add(
        self,
        kind: str,
        inputs: Sequence[onnx_ir.Value | None],
        name: str,
        shape: _Shape,
        **attributes: Any,
    ) -> onnx_ir.Value:
        """The output of a new node."""
        node = onnx_ir.node(kind, inputs, attributes=attributes)
        describe(node, f"{self._stem}.{name}", onnx_ir.Shape(shape), _FLOAT)
        self._graph.insert_before(self._place, node)
        return node.outputs[0]

    def round(self, source: onnx_ir.Value, scale: onnx_ir.Value, name: str) -> onnx_ir.Value:
        """`source` rounded to E4M3."""
        narrow, wide = rounded(self._graph, source, scale, f"{self._stem}.{name}")
        self._graph.insert_before(self._place, [narrow, wide])
        return wide.outputs[0]


def _attention_node(graph: onnx_ir.Graph, block: int) -> onnx_ir.Node:
    """What `o` of the block's self attention reads."""
    weight = graph.initializers[f"blocks.{block}.self_attn.o.weight"]
    (product, _), *_ = weight.uses()
    mixed = product.inputs[0]
    node = mixed.producer() if mixed else None
    plain = {"q_num_heads", "kv_num_heads"}
    if node is None or node.op_type != "Attention" or set(node.attributes) != plain:
        raise RuntimeError(f"block {block} has no plain self attention: {node}")
    return node
