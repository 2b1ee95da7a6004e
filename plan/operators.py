"""What TensorRT's ONNX parser takes, checked before a build: `operators.json` says from where.

The table has the operators of our graphs and their kin; what is not in it is an error. The parser
decides in the end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import onnx
from onnx import numpy_helper

from wan_trt.engine.errors import BundleError
from wan_trt.plan.fusions import expected_fusions
from wan_trt.plan.static_graph import StaticGraph, attribute_values

_TABLE = Path(__file__).parent / "operators.json"
_FP8_HEAD_MULTIPLE = 16
_RANK_OF_ROWS = 3  # [batch, tokens, heads*d]
_RESIZE_MODES = {b"nearest", b"linear"}


@dataclass(frozen=True)
class SupportedOperators:
    """Operator -> types of its first input; `opsets` is the least and the greatest."""

    opsets: tuple[int, int]
    types: Mapping[str, frozenset[str]]


@cache
def supported_operators() -> SupportedOperators:
    data = json.loads(_TABLE.read_text(encoding="utf-8"))
    least, greatest = data["opsets"]
    types = {name: frozenset(types) for name, types in data["operators"].items()}
    return SupportedOperators((least, greatest), types)


def require_supported(graph: StaticGraph) -> None:
    """Raise BundleError for the first node that TensorRT's parser would refuse."""
    if fault := next(faults(graph), None):
        raise BundleError(
            fault,
            expected="what TensorRT's ONNX parser supports",
            action="leave this graph out with --graphs, or export with a version that avoids it",
        )


def faults(graph: StaticGraph) -> Iterator[str]:
    """What the parser would refuse, node by node."""
    table = supported_operators()
    least, greatest = table.opsets
    if not least <= graph.opset <= greatest:
        yield f"graph {graph.name} has opset {graph.opset}, not {least} to {greatest}"
    for node in graph.model.graph.node:
        where = f"node {node.name} ({node.op_type}) of graph {graph.name}"
        types = table.types.get(node.op_type)
        if node.domain or types is None:
            yield f"{where} is an operator that TensorRT does not know"
            continue
        dtype = graph.types[node.input[0]].dtype_name if node.input else ""
        if dtype and dtype not in types:
            yield f"{where} reads {dtype}, not {' or '.join(sorted(types))}"
        if reason := _RESTRICTIONS.get(node.op_type, _none)(node, graph):
            yield f"{where} {reason}"
    yield from _attention_faults(graph)


def _attention_faults(graph: StaticGraph) -> Iterator[str]:
    """FP8 attention: a head's width is a multiple of 16, and no size is a symbol."""
    symbolic = any(
        dimension.dim_param
        for value in graph.model.graph.input
        for dimension in value.type.tensor_type.shape.dim
    )
    for attention in expected_fusions(graph).attentions:
        if not attention.is_fp8:
            continue
        if attention.head_dim % _FP8_HEAD_MULTIPLE:
            yield (
                f"FP8 attention {attention.name} of graph {graph.name} has heads of "
                f"{attention.head_dim}, no multiple of {_FP8_HEAD_MULTIPLE}"
            )
        if symbolic:
            yield f"FP8 attention {attention.name} of graph {graph.name} has no fixed size"


def _attention(node: onnx.NodeProto, graph: StaticGraph) -> str:
    if len({len(graph.types[name].shape) for name in node.input[:3]}) != 1:
        return "has a query, key and value of different ranks"
    optional = list(node.input[4:]) + list(node.output[1:])
    if any(optional):
        return f"uses {', '.join(filter(None, optional))}: only query, key, value and mask are"
    told = attribute_values(node)
    if "softmax_precision" in told:
        return "says how precise its softmax is"
    return "has a softcap" if told.get("softcap") else ""


def _rotary_embedding(node: onnx.NodeProto, graph: StaticGraph) -> str:
    over_rows = len(graph.types[node.input[0]].shape) == _RANK_OF_ROWS
    if over_rows and "num_heads" not in attribute_values(node):
        return "reads rows and does not say of how many heads"
    return ""


def _zero_point_is_zero(node: onnx.NodeProto, graph: StaticGraph) -> str:
    zero = node.input[2] if len(node.input) > 2 else ""
    for tensor in graph.model.graph.initializer:
        if tensor.name == zero and numpy_helper.to_array(tensor).any():
            return "has a zero point that is not 0"
    return ""


def _resize(node: onnx.NodeProto, graph: StaticGraph) -> str:
    del graph
    told = attribute_values(node)
    mode = told.get("mode", b"nearest")
    if mode not in _RESIZE_MODES:
        return f"has mode {mode.decode()}"
    return "is antialiased" if told.get("antialias") else ""


def _axes_are_constant(node: onnx.NodeProto, graph: StaticGraph) -> str:
    names = {tensor.name for tensor in graph.model.graph.initializer}
    axes = node.input[1] if len(node.input) > 1 else ""
    return "has axes that are computed" if axes and axes not in names else ""


def _one_output(node: onnx.NodeProto, graph: StaticGraph) -> str:
    del graph
    return "has outputs besides the first" if any(node.output[1:]) else ""


def _spatial(node: onnx.NodeProto, graph: StaticGraph) -> str:
    spatial = len(graph.types[node.input[0]].shape) - 2
    return "" if spatial in (1, 2, 3) else f"convolves {spatial} dimensions"


def _none(node: onnx.NodeProto, graph: StaticGraph) -> str:
    del node, graph
    return ""


_RESTRICTIONS: Mapping[str, Callable[[onnx.NodeProto, StaticGraph], str]] = {
    "Attention": _attention,
    "Conv": _spatial,
    "DequantizeLinear": _zero_point_is_zero,
    "LayerNormalization": _one_output,
    "QuantizeLinear": _zero_point_is_zero,
    "ReduceMean": _axes_are_constant,
    "ReduceSum": _axes_are_constant,
    "Resize": _resize,
    "RotaryEmbedding": _rotary_embedding,
}
