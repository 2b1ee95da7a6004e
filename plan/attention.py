"""Attention nodes as TensorRT's parser wants them, or written out where no fused kernel takes them.

TensorRT fuses attention with 16-bit operands only. So in a graph that stays float32 - the VAE's one
head over a whole frame - products and softmax are nodes of their own, and the scores are a tensor:
heads x tokens x tokens.

    rows [batch, tokens, heads*d] -> [batch, heads, tokens, d] -> MatMul, Softmax, MatMul -> rows

Where an Attention stays one, its query is scaled in float32 and its own scale is 1: the parser
multiplies query and key by the root of the scale, in their type. For heads of 128 that root is
0.2973, and 0.2969 in bfloat16: all scores would be 0.3 % too small. The parser refuses a node that
says how precise its softmax is; a fused kernel's is float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from wan_trt.plan.static_graph import StaticGraph, TensorType, attribute_values

_HEAD_MULTIPLE = 8  # of a head's width, for a kernel with 16-bit operands
_SCORE_NBYTES = 2  # bfloat16
_MOST_SCORES_NBYTES = 256 * 2**20
_BY_HEAD = (0, 2, 1, 3)
_TRANSPOSED = (0, 2, 3, 1)
_REPLACED = frozenset({"scale", "softmax_precision"})  # attributes


def has_fused_kernel(node: onnx.NodeProto, types: Mapping[str, TensorType]) -> bool:
    """Whether an Attention over rows may become one kernel, once its operands are 16-bit."""
    heads = attribute_values(node)["q_num_heads"]
    return bool(types[node.input[0]].shape[-1] // heads % _HEAD_MULTIPLE == 0)


def with_scaled_queries(graph: StaticGraph) -> StaticGraph:
    """`graph` with a Mul before each Attention, of which scale and precision are then standard."""

    def write(new: onnx.GraphProto, types: dict[str, TensorType], node: onnx.NodeProto) -> None:
        if node.op_type == "Attention":
            _Writer(new, types, node.name).write_scaled(node)
        else:
            new.node.append(node)

    return graph.rewritten(write)


def allow_decomposition(model: onnx.ModelProto, types: Mapping[str, TensorType]) -> None:
    """Mark the Attentions that TensorRT may take apart where it has no fused kernel: those whose
    scores are small. A plan of others would not fit; without the mark the build says so at once.
    The attribute is the parser's own, unknown to ONNX. The gate tells what was taken apart."""
    for node in model.graph.node:
        if node.op_type != "Attention":
            continue
        heads = attribute_values(node)["q_num_heads"]
        batch, queries, _ = types[node.input[0]].shape
        keys = types[node.input[1]].shape[1]
        if batch * heads * queries * keys * _SCORE_NBYTES <= _MOST_SCORES_NBYTES:
            node.attribute.append(onnx.helper.make_attribute("TRT_decomposable", 1))


def write_out(graph: StaticGraph, nodes: frozenset[str]) -> StaticGraph:
    """`graph` with these of its Attention nodes, by name, as products and softmax."""

    def write(new: onnx.GraphProto, types: dict[str, TensorType], node: onnx.NodeProto) -> None:
        if node.name in nodes:
            _Writer(new, types, node.name).write(node)
        else:
            new.node.append(node)

    return graph.rewritten(write)


class _Writer:
    """Adds float32 nodes, whose names begin with the attention's."""

    def __init__(self, graph: onnx.GraphProto, types: dict[str, TensorType], stem: str) -> None:
        self._graph, self._types, self._stem = graph, types, stem

    def write_scaled(self, node: onnx.NodeProto) -> None:
        own = onnx.NodeProto()
        own.CopyFrom(node)
        own.input[0] = self._scaled_query(node)
        del own.attribute[:]
        own.attribute.extend(a for a in node.attribute if a.name not in _REPLACED)
        own.attribute.append(onnx.helper.make_attribute("scale", 1.0))
        self._graph.node.append(own)

    def write(self, node: onnx.NodeProto) -> None:
        heads = attribute_values(node)["q_num_heads"]
        query, key, value, *mask = node.input
        width = self._types[query].shape[-1] // heads
        split = self._constant("heads", np.array([0, 0, heads, -1], np.int64))
        join = self._constant("rows", np.array([0, 0, -1], np.int64))
        batch, queries, _ = self._types[query].shape
        keys = self._types[key].shape[1]
        scaled = self._scaled_query(node)
        operands = []
        for name, source, tokens, order in (
            ("query", scaled, queries, _BY_HEAD),
            ("key", key, keys, _TRANSPOSED),
            ("value", value, keys, _BY_HEAD),
        ):
            shape = batch, tokens, heads, width
            cut = self._add("Reshape", [source, split], f"{name}_cut", shape)
            turned = tuple(shape[axis] for axis in order)
            operands.append(self._add("Transpose", [cut], f"{name}_by_head", turned, perm=order))
        square = batch, heads, queries, keys
        scores = self._add("MatMul", operands[:2], "scores", square)
        if mask:
            scores = self._add("Add", [scores, mask[0]], "masked", square)
        weights = self._add("Softmax", [scores], "softmax", square, axis=-1)
        mixed = self._add("MatMul", [weights, operands[2]], "mixed", (batch, heads, queries, width))
        by_token = (batch, queries, heads, width)
        turned_back = self._add("Transpose", [mixed], "mixed_by_token", by_token, perm=_BY_HEAD)
        rows = onnx.helper.make_node("Reshape", [turned_back, join], [node.output[0]])
        rows.name = f"{self._stem}.rows"
        self._graph.node.append(rows)

    def _scaled_query(self, node: onnx.NodeProto) -> str:
        """The query times the scale, in float32; as it is where that is 1."""
        attributes, query = attribute_values(node), node.input[0]
        shape = self._types[query].shape
        factor = attributes.get("scale", (shape[-1] // attributes["q_num_heads"]) ** -0.5)
        if factor == 1:
            return query
        scale = self._constant("scale", np.array(factor, np.float32))
        return self._add("Mul", [query, scale], "scaled", shape)

    def _add(
        self,
        kind: str,
        inputs: list[str],
        name: str,
        shape: tuple[int, ...],
        **attributes: Any,
    ) -> str:
        full = f"{self._stem}.{name}"
        self._graph.node.append(
            onnx.helper.make_node(kind, inputs, [full], name=full, **attributes)
        )
        self._types[full] = TensorType(onnx.TensorProto.FLOAT, shape)
        return full

    def _constant(self, name: str, value: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> str:
        full = f"{self._stem}.{name}_constant"
        tensor = numpy_helper.from_array(value, full)
        self._graph.initializer.append(tensor)
        self._types[full] = TensorType(tensor.data_type, tuple(tensor.dims))
        return full
