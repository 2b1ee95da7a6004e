"""The graph that TensorRT is given: a bundle's at one size, in operators and types of its own."""

from __future__ import annotations

import onnx

from wan_trt.engine.bundle import Bundle
from wan_trt.plan.arithmetic import with_types
from wan_trt.plan.attention import allow_decomposition
from wan_trt.plan.resize import write_out_resizes
from wan_trt.plan.static_graph import StaticGraph, fix_sizes, load_graph
from wan_trt.plan.targets import Target


def network_graph(bundle: Bundle, target: Target) -> StaticGraph:
    """Raises BundleError where the bundle's graph does not fit its manifest."""
    model = load_graph(bundle.graph_path(target.graph))
    graph = fix_sizes(model, bundle.manifest.graphs[target.graph].spec, target)
    return with_types(write_out_resizes(graph))


def parser_input(graph: StaticGraph) -> bytes:
    """The graph as TensorRT's parser reads it, with attributes that ONNX does not know."""
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    allow_decomposition(model, graph.types)
    return model.SerializeToString()
