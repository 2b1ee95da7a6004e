"""What of a graph TensorRT computes in bfloat16 (`engine/bfloat16_products`), and what it does not.

TensorRT takes every type as it is written, and its fused attention wants 16 bits, so types are
written here. What stays float32 is multiplied in TF32; its attention is written out, for want of a
fused kernel.
"""

from __future__ import annotations

import math

import onnx

from wan_trt.engine.bfloat16_products import stores_narrow, with_bfloat16_products
from wan_trt.plan.attention import has_fused_kernel, with_scaled_queries, write_out
from wan_trt.plan.column_scales import with_column_scales_behind
from wan_trt.plan.static_graph import StaticGraph, TensorType


def with_types(graph: StaticGraph) -> StaticGraph:
    """`graph` as TensorRT is given it. Names of nodes and of initializers stay."""
    narrow = stores_narrow(graph.model)
    unfused = frozenset(
        node.name
        for node in graph.model.graph.node
        if node.op_type == "Attention" and not (narrow and has_fused_kernel(node, graph.types))
    )
    if unfused:
        graph = write_out(graph, unfused)
    if not narrow:
        return graph
    return _narrow(with_column_scales_behind(with_scaled_queries(graph)))


def _narrow(graph: StaticGraph) -> StaticGraph:
    types = dict(graph.types)
    changes = with_bfloat16_products(
        graph.model.graph,
        {name: kind.dtype for name, kind in types.items()},
        frozenset(name for name, kind in types.items() if math.prod(kind.shape[:-1]) == 1),
        rounds_bfloat16=True,
    )
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    del model.graph.node[:]
    model.graph.node.extend(changes.nodes)
    for name, dtype in changes.dtypes.items():
        types[name] = TensorType(dtype, types[changes.shaped_as.get(name, name)].shape)
    return StaticGraph(graph.name, model, types)
