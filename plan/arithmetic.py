"""What of a graph TensorRT computes in bfloat16.

A bundle's graph computes in float32 whatever it stores, for ONNX Runtime's CPU provider. TensorRT
takes every type as it is written, and its fused attention wants 16 bits, so types are written here:

    stored         products                      attention             all else
    float32        float32 (TF32)                written out, float32  float32
    bfloat16       bfloat16, summed in float32   bfloat16              float32
    E4M3           E4M3, result bfloat16         bfloat16              float32

A product is narrow where one of its operands is stored so. An E4M3 matrix whose other operand is
not rounded, as in a context, is widened to bfloat16 and multiplied as such a one. "All else" is the
residual stream, norms, modulation, rotary embedding and softmax's inside: what upstream computes in
float32 too. A product over one row - the timestep's embedding, from which all modulation comes -
stays float32: it costs nothing.

A Cast stands only where something of the other kind begins; each tensor is cast once, and what is
rounded to E4M3 in the end stays bfloat16 until then. Weights keep the type that they are stored as,
so that they are mapped from their files.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable

import onnx

from wan_trt.plan.attention import has_fused_kernel, with_scaled_queries, write_out
from wan_trt.plan.column_scales import with_column_scales_behind
from wan_trt.plan.static_graph import StaticGraph, TensorType

_FLOAT, _BFLOAT16 = onnx.TensorProto.FLOAT, onnx.TensorProto.BFLOAT16
_NARROW = frozenset({_BFLOAT16, onnx.TensorProto.FLOAT8E4M3FN})
_TYPE_KEEPING = frozenset({"Reshape", "Softmax", "Transpose"})


def is_narrow(graph: StaticGraph) -> bool:
    """Whether anything of it is stored as less than float32."""
    return any(tensor.data_type in _NARROW for tensor in graph.model.graph.initializer)


def with_types(graph: StaticGraph) -> StaticGraph:
    """`graph` as TensorRT is given it. Names of nodes and of initializers stay."""
    narrow = is_narrow(graph)
    unfused = frozenset(
        node.name
        for node in graph.model.graph.node
        if node.op_type == "Attention" and not (narrow and has_fused_kernel(node, graph.types))
    )
    if unfused:
        graph = write_out(graph, unfused)
    if not narrow:
        return graph
    return _Narrowing(with_column_scales_behind(with_scaled_queries(graph))).result()


class _Narrowing:
    """Writes a graph anew, node by node, with its products and attentions in bfloat16."""

    def __init__(self, graph: StaticGraph) -> None:
        self._graph = graph
        self._types = dict(graph.types)
        self._written: dict[str, onnx.NodeProto] = {}  # by output, in order
        self._cast: dict[str, str] = {}
        self._outputs = {value.name for value in graph.model.graph.output}
        self._users: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in graph.model.graph.node:
            for name in node.input:
                self._users[name].append(node)

    def result(self) -> StaticGraph:
        for node in self._graph.model.graph.node:
            own = onnx.NodeProto()
            own.CopyFrom(node)
            if node.op_type == "Attention" or self._is_narrow_product(node):
                self._narrow(own)
            else:
                self._write(own)
        model = onnx.ModelProto()
        model.CopyFrom(self._graph.model)
        del model.graph.node[:]
        model.graph.node.extend(_used(self._written.values(), self._outputs))
        return StaticGraph(self._graph.name, model, self._types)

    def _is_narrow_product(self, node: onnx.NodeProto) -> bool:
        """Whether an operand is stored as bfloat16 or rounded, and there is more than one row."""
        if node.op_type != "MatMul" or math.prod(self._types[node.input[0]].shape[:-1]) == 1:
            return False
        return any(self._stored_as(name) for name in node.input)

    def _stored_as(self, name: str) -> str | None:
        """What a float32 tensor is the widened form of: a bfloat16 one, or E4M3."""
        producer = self._written.get(name)
        if producer is None or producer.op_type not in ("Cast", "DequantizeLinear"):
            return None
        source = producer.input[0]
        return source if self._types[source].dtype in _NARROW else None

    def _narrow(self, node: onnx.NodeProto) -> None:
        inputs = [self._narrowed(name) for name in node.input]
        del node.input[:]
        node.input.extend(inputs)
        output = node.output[0]
        wide = self._types[output]
        if kept := self._until_rounded(output):
            for name in kept:
                self._types[name] = TensorType(_BFLOAT16, self._types[name].shape)
            self._write(node)
            return
        node.output[0] = f"{output}_bfloat16"
        self._types[node.output[0]] = TensorType(_BFLOAT16, wide.shape)
        self._write(node)
        self._write(_cast(node.output[0], output, _FLOAT))

    def _until_rounded(self, name: str) -> list[str] | None:
        """This tensor and those made of it until all is rounded to E4M3; None where anything else
        reads one of them. No kernel fuses an FP8 attention with something wide in between."""
        users = self._users[name]
        if not users or name in self._outputs:
            return None
        kept = [name]
        for user in users:
            if user.op_type == "QuantizeLinear":
                continue
            if user.op_type not in _TYPE_KEEPING:
                return None
            rest = self._until_rounded(user.output[0])
            if rest is None:
                return None
            kept += rest
        return kept

    def _narrowed(self, name: str) -> str:
        """The tensor as bfloat16."""
        kind = self._types[name]
        if kind.dtype != _FLOAT:
            return name
        if name in self._cast:
            return self._cast[name]
        if source := self._stored_as(name):
            if self._types[source].dtype == _BFLOAT16:
                return source
            rounded = self._written[name]
            rounded.attribute.append(onnx.helper.make_attribute("output_dtype", _BFLOAT16))
            self._types[name] = TensorType(_BFLOAT16, kind.shape)
            return name
        narrow = f"{name}_bfloat16"
        self._types[narrow] = TensorType(_BFLOAT16, kind.shape)
        self._write(_cast(name, narrow, _BFLOAT16))
        self._cast[name] = narrow
        return narrow

    def _write(self, node: onnx.NodeProto) -> None:
        self._written[node.output[0]] = node


def _cast(source: str, result: str, dtype: int) -> onnx.NodeProto:
    return onnx.helper.make_node("Cast", [source], [result], name=f"{result}.cast", to=dtype)


def _used(nodes: Iterable[onnx.NodeProto], outputs: set[str]) -> list[onnx.NodeProto]:
    """Without those whose results nobody reads."""
    used, kept = set(outputs), []
    for node in reversed(list(nodes)):
        if used & set(node.output):
            used |= set(node.input)
            kept.append(node)
    return kept[::-1]
