"""What of a graph must become one kernel each: attentions, and linears with E4M3 operands.

    Attention(query, key, value)
    MatMul(DQ(query8), DQ(key8)) -> Softmax -> Q -> DQ -> MatMul(., DQ(value8))     FP8 attention
    MatMul(DQ(input8), DQ(weight8))                                                 FP8 linear

A linear of which only the matrix is E4M3 is a product in bfloat16, and none of these.

TensorRT names the ONNX nodes that a layer was made of, so these have the names of nodes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx

from wan_trt.plan.static_graph import StaticGraph, attribute_values

_WEIGHT = ".weight"


@dataclass(frozen=True)
class AttentionFusion:
    """`nodes`: those that do its work; `inside`: the tensors between them, which no fused kernel
    stores. `head_dim`: a head's width."""

    name: str
    nodes: tuple[str, ...]
    inside: tuple[str, ...]
    head_dim: int
    is_fp8: bool


@dataclass(frozen=True)
class LinearFusion:
    """An FP8 linear; `name` is the module's, `node` the product's, `input_count` how many numbers
    it reads beside its matrix."""

    name: str
    node: str
    input_count: int


@dataclass(frozen=True)
class Fusions:
    attentions: tuple[AttentionFusion, ...]
    fp8_linears: tuple[LinearFusion, ...]


def expected_fusions(graph: StaticGraph) -> Fusions:
    nodes = graph.model.graph.node
    producers = {name: node for node in nodes for name in node.output}
    parameters = {tensor.name for tensor in graph.model.graph.initializer}
    attentions, linears = [], []
    for node in nodes:
        if node.op_type == "Attention":
            heads = attribute_values(node)["q_num_heads"]
            width = graph.types[node.input[0]].shape[-1] // heads
            attentions.append(AttentionFusion(node.name, (node.name,), (), width, is_fp8=False))
        elif node.op_type == "MatMul" and (rounded := _dequantised(node, producers)):
            if rounded[1] in parameters:
                name, count = rounded[1].removesuffix(_WEIGHT), graph.types[rounded[0]].count
                linears.append(LinearFusion(name, node.name, count))
            elif chain := _softmax_chain(node, producers):
                attentions.append(_fp8_attention(node, chain, graph))
    return Fusions(tuple(attentions), tuple(linears))


def _dequantised(
    product: onnx.NodeProto, producers: Mapping[str, onnx.NodeProto]
) -> tuple[str, str] | None:
    """The E4M3 tensors that a product's operands are read from, if both are."""
    sources = []
    for name in product.input:
        producer = producers.get(name)
        if producer is None or producer.op_type != "DequantizeLinear":
            return None
        sources.append(producer.input[0])
    return sources[0], sources[1]


def _softmax_chain(
    product: onnx.NodeProto, producers: Mapping[str, onnx.NodeProto]
) -> list[onnx.NodeProto] | None:
    """From the second product of an FP8 attention back to the first; None where it is none."""
    chain = [product]
    for kind in ("DequantizeLinear", "QuantizeLinear", "Softmax", "MatMul"):
        node = producers.get(chain[-1].input[0])
        if node is None or node.op_type != kind:
            return None
        chain.append(node)
    return chain


def _fp8_attention(
    product: onnx.NodeProto, chain: list[onnx.NodeProto], graph: StaticGraph
) -> AttentionFusion:
    work = [node.name for node in chain if node.op_type in ("MatMul", "Softmax")]
    return AttentionFusion(
        name=product.name,
        nodes=tuple(reversed(work)),
        inside=tuple(node.output[0] for node in chain[1:]),
        head_dim=graph.types[product.output[0]].shape[-1],
        is_fp8=True,
    )


def inside_of_fusions(fusions: Fusions) -> Iterator[str]:
    """Tensors that no fused kernel stores."""
    for attention in fusions.attentions:
        yield from attention.inside
