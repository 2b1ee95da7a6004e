"""What of a graph is computed in bfloat16 where hardware has units for it.

A bundle's graph computes in float32 whatever it stores, for ONNX Runtime's CPU provider. GPUs are
many times faster with 16-bit operands, and have fused attention for those only:

    stored         products                      attention       all else
    float32        float32                       float32         float32
    bfloat16       bfloat16, summed in float32   bfloat16        float32
    E4M3           E4M3, result bfloat16         bfloat16        float32

A product is narrow where one of its operands is stored so. An E4M3 matrix whose other operand is
not rounded, as in a context, is widened to bfloat16 and multiplied as such a one. "All else" is the
residual stream, norms, modulation, rotary embedding and softmax's inside: what upstream computes in
float32 too. A product over one row - the timestep's embedding, from which all modulation comes -
stays float32: it costs nothing.

A Cast stands only where something of the other kind begins; each tensor is cast once, and what is
rounded to E4M3 in the end stays bfloat16 until then, where rounding takes that. Weights keep the
type that they are stored as, so that they are mapped from their files.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import onnx

_FLOAT, _BFLOAT16 = onnx.TensorProto.FLOAT, onnx.TensorProto.BFLOAT16
_NARROW = frozenset({_BFLOAT16, onnx.TensorProto.FLOAT8E4M3FN})
_TYPE_KEEPING = frozenset({"Reshape", "Softmax", "Transpose"})


@dataclass
class Narrowed:
    """Nodes in order, and the element types of the tensors whose types are others or new; a new one
    has the shape of the tensor that `shaped_as` names."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    dtypes: dict[str, int] = field(default_factory=dict)
    shaped_as: dict[str, str] = field(default_factory=dict)


def stores_narrow(model: onnx.ModelProto) -> bool:
    """Whether anything of a graph is stored as less than float32."""
    return any(tensor.data_type in _NARROW for tensor in model.graph.initializer)


def with_bfloat16_products(
    graph: onnx.GraphProto,
    dtypes: Mapping[str, int],
    single_rows: frozenset[str],
    *,
    rounds_bfloat16: bool,
) -> Narrowed:
    """The nodes of a graph that computes in float32, with products and attentions in bfloat16.

    `dtypes` has the ONNX element type of every tensor, `single_rows` the tensors of one row.
    `rounds_bfloat16`: whether QuantizeLinear and DequantizeLinear take and give bfloat16, as those
    of TensorRT do; else they stay float32, and a Cast follows. Names of nodes and of initializers
    stay.
    """
    return _Narrowing(graph, dtypes, single_rows, rounds_bfloat16).result()


class _Narrowing:
    """Writes a graph anew, node by node."""

    def __init__(
        self,
        graph: onnx.GraphProto,
        dtypes: Mapping[str, int],
        single_rows: frozenset[str],
        rounds_bfloat16: bool,
    ) -> None:
        self._graph = graph
        self._dtypes = dict(dtypes)
        self._single_rows = single_rows
        self._rounds_bfloat16 = rounds_bfloat16
        self._changes = Narrowed()
        self._written: dict[str, onnx.NodeProto] = {}  # by output, in order
        self._cast: dict[str, str] = {}
        self._outputs = {value.name for value in graph.output}
        self._users: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                self._users[name].append(node)

    def result(self) -> Narrowed:
        for node in self._graph.node:
            own = onnx.NodeProto()
            own.CopyFrom(node)
            if self._is_plain_attention(node) or self._is_narrow_product(node):
                self._narrow(own)
            else:
                self._write(own)
        self._changes.nodes = _used(list(self._written.values()), self._outputs)
        return self._changes

    def _is_plain_attention(self, node: onnx.NodeProto) -> bool:
        """One that gives no keys and values back, which others would get in bfloat16."""
        return node.op_type == "Attention" and len(node.output) == 1

    def _is_narrow_product(self, node: onnx.NodeProto) -> bool:
        """Whether an operand is stored as bfloat16 or rounded, and there is more than one row."""
        if node.op_type != "MatMul" or node.input[0] in self._single_rows:
            return False
        return any(self._stored_as(name) for name in node.input)

    def _stored_as(self, name: str) -> str | None:
        """What a float32 tensor is the widened form of: a bfloat16 one, or E4M3."""
        producer = self._written.get(name)
        if producer is None or producer.op_type not in ("Cast", "DequantizeLinear"):
            return None
        source = producer.input[0]
        return source if self._dtypes[source] in _NARROW else None

    def _narrow(self, node: onnx.NodeProto) -> None:
        inputs = [self._narrowed(name) if name else name for name in node.input]
        del node.input[:]
        node.input.extend(inputs)
        output = node.output[0]
        if self._rounds_bfloat16 and (kept := self._until_rounded(output)):
            for name in kept:
                self._note(name, _BFLOAT16)
            self._write(node)
            return
        node.output[0] = self._new(f"{output}_bfloat16", output)
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
        if self._dtypes[name] != _FLOAT:
            return name
        if name in self._cast:
            return self._cast[name]
        if source := self._stored_as(name):
            if self._dtypes[source] == _BFLOAT16:
                return source
            if self._rounds_bfloat16:
                rounded = self._written[name]
                rounded.attribute.append(onnx.helper.make_attribute("output_dtype", _BFLOAT16))
                self._note(name, _BFLOAT16)
                return name
        narrow = self._new(f"{name}_bfloat16", name)
        self._write(_cast(name, narrow, _BFLOAT16))
        self._cast[name] = narrow
        return narrow

    def _new(self, name: str, like: str) -> str:
        self._note(name, _BFLOAT16)
        self._changes.shaped_as[name] = like
        return name

    def _note(self, name: str, dtype: int) -> None:
        self._dtypes[name] = self._changes.dtypes[name] = dtype

    def _write(self, node: onnx.NodeProto) -> None:
        self._written[node.output[0]] = node


def _cast(source: str, result: str, dtype: int) -> onnx.NodeProto:
    return onnx.helper.make_node("Cast", [source], [result], name=f"{result}.cast", to=dtype)


def _used(nodes: Sequence[onnx.NodeProto], outputs: Iterable[str]) -> list[onnx.NodeProto]:
    """Without those whose results nobody reads."""
    used, kept = set(outputs), []
    for node in reversed(nodes):
        if used & set(node.output):
            used |= set(node.input)
            kept.append(node)
    return kept[::-1]
